"""Touched: a healthy container was restarted, although its spec is the same as before. Pure.

One that ended by itself, or that a probe or a drift ended, was restarted with need.
"""

from __future__ import annotations

from collections.abc import Iterator

from agent.checker.finding import Finding
from agent.checker.seen import Seen
from agent.checker.snapshot import Running, Snapshot, snapshot_of
from store.records import Key


def find_touched(seen: Seen, before: Snapshot) -> Iterator[Finding]:
    now = snapshot_of(seen.disk, seen.at)
    for old in before.live:
        new = now.containers.get(old.name)
        if new is None or new.key != old.key or new.spec_hash != old.spec_hash or new.process == old.process:
            continue
        if new.is_live and not _ended_with_need(seen, old, before.at):
            text = f"it was process {old.pid} and is {new.pid}, and nothing asked for that"
            yield Finding("touched", f"container {old.name}", text, f"setpoint why {old.name}")


def _ended_with_need(seen: Seen, old: Running, since: float) -> bool:
    """Whether an end of that container was noted that was not our doing."""
    try:
        status = seen.rows.statuses.get(Key.parse(old.key))
    except ValueError:
        return False
    exits = status.memory.get("exits", ()) if status is not None else ()
    return any(
        each.get("container") == old.id and each.get("at", 0.0) >= since and each.get("by", "self") != "us"
        for each in exits
    )
