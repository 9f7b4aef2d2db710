"""Who needs an image: a pure value from what runs, what is wanted, what went well, and who holds a lease.

    containers, wanted, good, leases, under way ─> find_roots ─> {image's id: why it is kept, in words}

The garbage collection keeps what is in it (`runtime.images.collection`). Not knowing is never not wanting: an
image that a reference may mean is kept, also where another one has its name by now.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from runtime.images.reference import parse_reference
from runtime.model import ContainerState
from store.image_memory import GoodImageRecord, LeaseRecord
from store.records import Key

KEPT_GOOD = 2  # of an object that is wanted: the present one, and the one that a revert goes back to
KEPT_REMOVED_SECONDS = 7 * 86400.0  # the last good one of an object that no manifest names any more


@dataclass(frozen=True, slots=True)
class Wanted:
    """A manifest, or the API, asks for an image. image: its id, "" when it is not here."""

    key: Key
    reference: str
    image: str
    place: str = ""


def find_roots(
    containers: Iterable[ContainerState],
    in_use: Iterable[str],
    wanted: Iterable[Wanted],
    good: Mapping[Key, Sequence[GoodImageRecord]],
    leases: Iterable[LeaseRecord],
    pulling: Iterable[str],
    names: Mapping[str, str],
    now: float,
) -> dict[str, str]:
    """in_use: images that something has that is no container to be seen yet. pulling: canonical names
    that are being fetched. names: canonical name -> image. The first reason of several counts: what runs
    before what is wanted, and that before what was."""
    roots: dict[str, str] = {}
    for state in containers:
        verb = "runs" if state.phase in ("running", "paused") else "was made of"
        roots.setdefault(state.image, f"{state.name} {verb} it")
    for image in in_use:
        roots.setdefault(image, "a container is being made of it")
    for each in wanted:
        place = f" ({each.place})" if each.place else ""
        roots.setdefault(each.image, f"{each.key} wants it{place}")
    for records in good.values():
        for record in kept_good(records, now):
            roots.setdefault(record.image, _why_good(record))
    for lease in leases:
        if lease.expires_at > now:
            image = names.get(lease.subject, lease.subject)
            roots.setdefault(image, f"{lease.owner} holds it until {_clock(lease.expires_at)}")
    for name in pulling:
        if name in names:
            roots.setdefault(names[name], f"{parse_reference(name).familiar} is being pulled")
    roots.pop("", None)
    return roots


def kept_good(records: Sequence[GoodImageRecord], now: float) -> tuple[GoodImageRecord, ...]:
    """Of one object's, the newest first: those that a revert may ask for."""
    present = [record for record in records if record.removed_at is None]
    if present:
        return tuple(present[:KEPT_GOOD])
    last = [record for record in records[:1] if now - (record.removed_at or 0.0) < KEPT_REMOVED_SECONDS]
    return tuple(last)


def _why_good(record: GoodImageRecord) -> str:
    revision = f" at {record.revision[:12]}" if record.revision else ""
    if record.removed_at is not None:
        return f"{record.key} had it{revision}, and a revert would bring that back"
    return f"{record.key} went well with it{revision}, and a revert would need it"


def _clock(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
