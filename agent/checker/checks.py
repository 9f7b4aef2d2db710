"""All six judges over one look, and a second look at what the first one found. Called by `doctor --leaks`, by
`ops/soak` and by the tests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import chain, repeat

from agent.checker import seen as looking
from agent.checker.doubled import find_doubled
from agent.checker.finding import KINDS, Finding
from agent.checker.leaked import find_leaked
from agent.checker.lost import find_lost
from agent.checker.seen import Seen
from agent.checker.snapshot import Snapshot
from agent.checker.stuck import find_dead_weight, find_stuck
from agent.checker.touched import find_touched
from agent.checker.wrong import find_wrong
from runtime.layout import Layout

# A link group is deleted within some 25 ms, a network's hosts files are written once a turn of the loop, the
# database within 50 ms, a container starts within 100 ms: what is found in every look is not on its way.
PAUSES_SECONDS = (0.05, 0.15, 0.3, 0.5, 1.0)


def check(
    layout: Layout, before: Snapshot | None = None, *, patience_seconds: float = 2.0
) -> tuple[Finding, ...]:
    """What is amiss with an instance, () when nothing is. before: `take`n earlier, for what was touched.

    One look when all is well. Otherwise only what every further look finds too, within patience_seconds.
    PermissionError without root.
    """
    found = _judge_once(layout, before)
    deadline = time.monotonic() + patience_seconds
    for pause in chain(PAUSES_SECONDS, repeat(PAUSES_SECONDS[-1])):
        left = deadline - time.monotonic()
        if not found or left <= 0:
            break
        time.sleep(min(pause, left))
        again = _judge_once(layout, before)
        found = {identity: again[identity] for identity in found.keys() & again.keys()}
    return tuple(sorted(found.values(), key=lambda each: (KINDS.index(each.kind), each.subject)))


def _judge_once(layout: Layout, before: Snapshot | None) -> dict[tuple[str, str], Finding]:
    return {finding.identity: finding for finding in judge(looking.look(layout), before)}


def judge(seen: Seen, before: Snapshot | None = None) -> Iterator[Finding]:
    """What one look shows, what is under way included."""
    yield from find_lost(seen, before)
    yield from find_wrong(seen)
    yield from find_doubled(seen)
    yield from find_leaked(seen)
    yield from find_stuck(seen)
    yield from find_dead_weight(seen)
    if before is not None:
        yield from find_touched(seen, before)
