"""What the present state of a container adds to what is remembered of it. Pure.

Used twice with the same result: by `plan`, so that it needs no preparation, and by `account`, which
keeps it. One run of a container is (its id, when it started).
"""

from __future__ import annotations

from agent.reconcile.memory import Memory
from agent.reconcile.policy import Exit, Health
from agent.reconcile.world import Replica


def exits_of_run(memory: Memory, replica: Replica, now: float) -> tuple[Exit, ...]:
    """The exits of this container, oldest first, the one that it shows now included."""
    known = tuple(exit for exit in memory.exits if exit.container == replica.id)
    new = unseen_exit(memory, replica, now)
    return known if new is None else (*known, new)


def unseen_exit(memory: Memory, replica: Replica, now: float) -> Exit | None:
    """The exit that a stopped container shows, if it is not remembered.

    After a reboot the kernel and the run directory know of no start: then what is remembered stays
    true, and only a container that nobody saw ending counts as killed.
    """
    state = replica.state
    if state.phase != "stopped":
        return None
    for exit in reversed(memory.exits):
        if exit.container == state.id:
            if exit.started_at == state.started_at or state.started_at is None:
                return None
            break
    ended_at = state.finished_at if state.ended_at is None else state.ended_at
    return Exit(
        index=replica.index,
        container=state.id,
        started_at=state.started_at,
        at=now if ended_at is None else min(ended_at, now),
        ran=state.ran_seconds,
        code=state.exit_code,
        oom_killed=state.oom_killed,
    )


def health_of(memory: Memory, replica: Replica) -> Health | None:
    """What probes have shown of this very run, None when it was not asked yet."""
    health = memory.health.get(replica.id)
    return health if health is not None and health.started_at == replica.state.started_at else None
