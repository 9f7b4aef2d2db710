"""Runs a drill: one thing at a time is broken, and each repair is timed. Called by `setpoint drill`."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from agent.drill.instance import DrillInstance, wait_until
from agent.drill.kinds import KINDS, Broken, Kind
from runtime.errors import Invalid, SetpointError, Unsupported

LIMIT_SECONDS = 5.0
TOLD_SECONDS = 2.0
CALM_SECONDS = 0.3  # a container that has just started is watched after a moment
READY_SECONDS = 30.0
NOTICED = re.compile(r", noticed by ([a-z ]+):")


@dataclass(frozen=True, slots=True)
class Result:
    """seconds None: it was not repaired within the limit. restarted: services whose process is another."""

    kind: str
    broken: str
    noticed: str
    seconds: float | None
    restarted: tuple[str, ...]
    is_good: bool
    error: str = ""


def chosen(names: Sequence[str], *, at_host: bool) -> tuple[Kind, ...]:
    """The kinds to drill. Invalid for a name that is none, or that needs --host."""
    known = {kind.name: kind for kind in KINDS}
    for name in names:
        if name not in known:
            raise Invalid("drill", name, "there is no such kind", ", ".join(known))
        if known[name].at_host and not at_host:
            raise Invalid("drill", name, "it concerns the whole host", "add --host")
        if lacks := known[name].lacks:
            raise Unsupported("drill", name, f"this host has no {lacks}")
    if names:
        return tuple(known[name] for name in dict.fromkeys(names))
    all_of_them = [kind for kind in KINDS if not kind.lacks and (at_host or not kind.at_host)]
    covered = {kind.covers for kind in all_of_them}
    return tuple(kind for kind in all_of_them if kind.name not in covered)


def run(
    drill: DrillInstance, kinds: Sequence[Kind], limit_seconds: float = LIMIT_SECONDS
) -> Iterator[Result]:
    time.sleep(CALM_SECONDS)
    for kind in kinds:
        yield _one(drill, kind, limit_seconds)
        wait_until(_quietly(drill.is_ready), READY_SECONDS)
        if kind.name == "killed":
            time.sleep(CALM_SECONDS)


def _one(drill: DrillInstance, kind: Kind, limit_seconds: float) -> Result:
    before, began_at = drill.pids(), time.time()
    try:
        broken = kind.break_it(drill)
    except (SetpointError, OSError, StopIteration, AssertionError) as error:
        return Result(kind.name, "", "", None, (), is_good=False, error=str(error) or type(error).__name__)
    seconds = wait_until(_quietly(broken.is_whole), limit_seconds)
    told: list[str] = []
    if seconds is not None:

        def is_told() -> bool:
            told[:] = _told(drill, began_at, broken)
            return bool(told)

        wait_until(_quietly(is_told), max(TOLD_SECONDS, limit_seconds))
    restarted = _restarted(drill, before)
    expected = (broken.restarts,) if broken.restarts else ()
    is_good = seconds is not None and restarted == expected and bool(told)
    return Result(kind.name, broken.what, told[0] if told else "", seconds, restarted, is_good)


def _told(drill: DrillInstance, began_at: float, broken: Broken) -> list[str]:
    """By what it was noticed, of the events since."""
    if broken.restarts:
        return ["exit"]
    messages = [str(event["message"]) for event in drill.repairs_since(began_at)]
    found = map(NOTICED.search, messages)
    return [each.group(1) if each else "itself" for each in found]


def _restarted(drill: DrillInstance, before: dict[str, int]) -> tuple[str, ...]:
    after: dict[str, int] = {}

    def is_seen() -> bool:
        after.update(drill.pids())
        return bool(after)

    wait_until(_quietly(is_seen), TOLD_SECONDS)
    return tuple(sorted(name for name, pid in before.items() if after.get(name) != pid))


def _quietly(look: Callable[[], bool]) -> Callable[[], bool]:
    """What is broken may be in the way of the look: not yet, then."""

    def looked() -> bool:
        try:
            return look()
        except (SetpointError, OSError, StopIteration):
            return False

    return looked
