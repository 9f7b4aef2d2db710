"""Which images go and which stay, and why: a pure value from what is there, who needs it, and how full it is.

    holdings, roots, disk, rules, now ─> judge ─> a Judgement for every image ─> `Images.forget`

Called by the agent on a schedule and for `system prune`; asked for, the same rules only take more. Who needs
an image is the caller's to say. Reads nothing and removes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

HOUR, DAY = 3600.0, 86400.0


@dataclass(frozen=True, slots=True)
class Holding:
    """An image in the store. parts: what it is made of -> bytes on disk, as far as is known; other images may
    have the same part. by_hand: a name that nobody pulled, "" for none: no registry can give it again."""

    id: str
    names: tuple[str, ...]
    parts: Mapping[str, int]
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class Disk:
    """The disk that images are on. Bytes."""

    total_bytes: int
    free_bytes: int

    @property
    def used_fraction(self) -> float:
        return 1.0 - self.free_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True)
class Rules:
    """When an image that nobody needs goes. Over `high` of the disk in use, the least recently used go until
    `low` is reached; whatever the disk, one that is unused for `max_age_seconds` (0: never). Nothing that was
    used within `grace_seconds`. The fractions and the grace are the kubelet's way, with its numbers for the
    marks (85 and 80 per cent); it never collects by age, we do after a month. alarm: over this, and nothing
    to take, a person must hear of it: many a disk is well at 90 per cent."""

    high: float = 0.85
    low: float = 0.80
    max_age_seconds: float = 30 * DAY
    grace_seconds: float = HOUR
    alarm: float = 0.95


@dataclass(frozen=True, slots=True)
class Asked:
    """A person asks for room. all_unused: named images too, and those that came by hand; else only what has
    no name. until_seconds: not what was used within that time."""

    all_unused: bool = False
    until_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """goes_bytes: what its going gives, with all that go before it; 0 where it stays."""

    id: str
    names: tuple[str, ...]
    goes: bool
    why: str
    used_at: float
    own_bytes: int
    goes_bytes: int = 0


def judge(
    holdings: Sequence[Holding],
    roots: Mapping[str, str],
    used_at: Mapping[str, float],
    disk: Disk,
    now: float,
    rules: Rules = Rules(),
    asked: Asked | None = None,
) -> tuple[Judgement, ...]:
    """For every image, those that go first, in the order of their going. roots: image -> who needs it, in
    words. used_at: image -> when it was needed last; one that is not in it is as good as used now."""
    users = Counter(part for holding in holdings for part in holding.parts)
    going: list[Judgement] = []
    staying: list[Judgement] = []
    free = disk.free_bytes
    wanted_free = disk.total_bytes * (1.0 - rules.low) if disk.used_fraction > rules.high else 0.0
    for holding in sorted(holdings, key=lambda each: _order(each, used_at, now)):
        last = used_at.get(holding.id, now)
        kept = roots.get(holding.id) or _kept(holding, last, now, rules, asked)
        gone = "" if kept else _gone(holding, last, now, rules, asked, lacks=free < wanted_free, disk=disk)
        own = sum(holding.parts.values())
        if not gone:
            why = kept or _no_reason(rules, disk)
            staying.append(Judgement(holding.id, holding.names, False, why, last, own))
            continue
        given = _take(holding, users)
        free += given
        going.append(Judgement(holding.id, holding.names, True, gone, last, own, given))
    return (*going, *staying)


def is_short(disk: Disk, rules: Rules, judgements: Iterable[Judgement]) -> bool:
    """Over the high mark, and still over the low one when all that may go has gone."""
    given = sum(each.goes_bytes for each in judgements)
    after = Disk(disk.total_bytes, disk.free_bytes + given)
    return disk.used_fraction > rules.high and after.used_fraction > rules.low


def _order(holding: Holding, used_at: Mapping[str, float], now: float) -> tuple[bool, float, str]:
    """Without a name first, then the least recently used."""
    return bool(holding.names), used_at.get(holding.id, now), holding.id


def _kept(holding: Holding, last: float, now: float, rules: Rules, asked: Asked | None) -> str:
    """What keeps an image that nobody needs."""
    if asked is None:
        if holding.by_hand:
            return f"came by hand as {holding.by_hand}: no registry can give it again"
        if now - last < rules.grace_seconds:
            return f"was used within {_span(rules.grace_seconds)}"
        return ""
    if holding.names and not asked.all_unused:
        return "has a name (--all takes it)"
    if now - last < asked.until_seconds:
        return f"was used within {_span(asked.until_seconds)}"
    return ""


def _gone(
    holding: Holding, last: float, now: float, rules: Rules, asked: Asked | None, *, lacks: bool, disk: Disk
) -> str:
    """Why it goes, "" when nothing asks for that."""
    unused = f"unused for {_span(now - last)}"
    if asked is not None:
        return unused if holding.names else f"has no name, {unused}"
    if rules.max_age_seconds and now - last > rules.max_age_seconds:
        return unused
    return f"{unused}, and the disk is {disk.used_fraction:.0%} full" if lacks else ""


def _no_reason(rules: Rules, disk: Disk) -> str:
    """Why an image that may go stays all the same."""
    if disk.used_fraction > rules.high:
        return "nobody needs it; others give room enough"
    return f"nobody needs it; there is room (the disk is {disk.used_fraction:.0%} full)"


def _take(holding: Holding, users: Counter[str]) -> int:
    """The bytes of the parts that nobody else has any more."""
    given = 0
    for part, size in holding.parts.items():
        users[part] -= 1
        if not users[part]:
            given += size
    return given


def _span(seconds: float) -> str:
    for limit, divisor, unit in ((120.0, 1.0, "s"), (7200.0, 60.0, "min"), (172800.0, HOUR, "h")):
        if seconds < limit:
            return f"{max(0.0, seconds) / divisor:.0f} {unit}"
    return f"{seconds / DAY:.0f} days"
