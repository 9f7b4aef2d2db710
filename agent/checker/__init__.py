"""The six things that must hold of an instance whatever happened to it: nothing lost, wrong, doubled,
leaked, stuck or touched without need.

    reader (disk, kernel, database) ─> Seen ─> one pure judge a kind ─> Findings

`take` before and `check` after a fault; `setpoint doctor --leaks` is the same code. Goes by names in the
kernel and by files on disk; asks neither agent nor supervisor, and works with and without them. Changes
nothing. Needs root.
"""

from agent.checker.checks import check
from agent.checker.finding import KINDS, Finding
from agent.checker.snapshot import Running, Snapshot, take

__all__ = ["KINDS", "Finding", "Running", "Snapshot", "check", "take"]
