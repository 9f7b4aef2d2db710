"""Events in the Docker Engine API's form, and which of them a follower asked for. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agent.api.docker.filters import Filters, fits_labels
from agent.api.docker.network_ids import network_id
from store.records import EventRecord, Happening

KNOWN_FILTERS = (
    "config", "container", "daemon", "event", "image", "label", "network", "node", "plugin", "scope",
    "secret", "service", "type", "volume",
)  # fmt: skip
BY_NAME = ("config", "container", "daemon", "network", "node", "plugin", "secret", "service", "volume")
WITH_DETAILS = frozenset({"exec_create", "exec_start", "health_status"})  # "exec_start: sh" is one too
SCOPE = "local"


@dataclass(slots=True, eq=False)
class Telling:
    """One event as it is told. record_id: of the record that it is of. Its lines are made once, for all."""

    record_id: int
    at: float
    happening: Happening
    view: dict[str, Any]
    _lines: dict[bool, bytes] = field(default_factory=dict)

    def line(self, *, is_old: bool) -> bytes:
        """is_old: for a version before 1.52, with the fields of before 1.22 (compose reads them)."""
        if is_old not in self._lines:
            view = {**_older(self.happening), **self.view} if is_old else self.view
            self._lines[is_old] = json.dumps(view, separators=(",", ":")).encode() + b"\n"
        return self._lines[is_old]


def tellings(record: EventRecord, instance: str) -> Iterator[Telling]:
    """All that a record says, in order; a nanosecond apart, since clients sort by it."""
    nanoseconds = round(record.at * 1e9)
    for position, happening in enumerate(record.happenings):
        shown = _shown(happening, instance)
        view = {
            "Type": shown.type,
            "Action": shown.action,
            "Actor": {"ID": shown.id, "Attributes": dict(shown.attributes)},
            "scope": SCOPE,
            "time": (nanoseconds + position) // 10**9,
            "timeNano": nanoseconds + position,
        }
        yield Telling(record.id, record.at, shown, view)


def _shown(happening: Happening, instance: str) -> Happening:
    """With Docker's ids: of a network, the name is kept."""
    if happening.type != "network":
        return happening
    id = network_id(instance, happening.id)
    return Happening(happening.type, happening.action, id, happening.attributes)


def _older(happening: Happening) -> dict[str, str]:
    if happening.type not in ("container", "image"):
        return {}
    image = happening.attributes.get("image", "")
    return {"status": happening.action, "id": happening.id, **({"from": image} if image else {})}


# --- filters --------------------------------------------------------------------------------------


def fits(happening: Happening, filters: Filters) -> bool:
    """As the daemon has it: names and ids by their beginnings, images whole or without their tag."""
    return (
        all(_fits_name(happening, filters[word]) for word in BY_NAME if word in filters)
        and ("type" not in filters or happening.type in filters["type"])
        and ("scope" not in filters or SCOPE in filters["scope"])
        and ("event" not in filters or _fits_action(happening.action, filters["event"]))
        and ("image" not in filters or _fits_image(happening, filters["image"]))
        and fits_labels(happening.attributes, filters.get("label", ()))
    )


def _fits_name(happening: Happening, wanted: tuple[str, ...]) -> bool:
    name = happening.attributes.get("name", "")
    return any(happening.id.startswith(text) or name.startswith(text) for text in wanted)


def _fits_action(action: str, wanted: tuple[str, ...]) -> bool:
    if WITH_DETAILS.intersection(wanted):
        return action.startswith(wanted)
    return action in wanted


def _fits_image(happening: Happening, wanted: tuple[str, ...]) -> bool:
    name = happening.attributes.get("name" if happening.type == "image" else "image", "")
    said = {happening.id, name, _without_tag(happening.id), _without_tag(name)}
    return not said.isdisjoint(wanted)


def _without_tag(reference: str) -> str:
    name, _, tag = reference.rpartition(":")
    return name if name and "/" not in tag else reference
