"""Planning the scoped sockets of the API: one that does not listen is opened, one that listens as another
version of its manifest had it is opened anew, one that is not wanted is closed. Pure; called by `plan`."""

from __future__ import annotations

from agent.manifest.spec import SocketSpec
from agent.reconcile.actions import Cause, CloseSocket, KeyPlan, OpenSocket
from agent.reconcile.conditions import Verdict
from agent.reconcile.removal import blocking_failure, gone, removing, seen_of, token_of
from agent.reconcile.world import Desired, World


def plan_socket(desired: Desired, spec: SocketSpec, world: World, now: float) -> KeyPlan:
    listens = world.sockets.get(desired.key)
    if listens == desired.spec_hash:
        ready = Verdict("Ready", "Ready", "", generation=desired.generation, is_started=True, is_settled=True)
        return KeyPlan(desired.key, (), ready)
    failure = blocking_failure(world.memory_of(desired.key), 0, token_of(desired, None), now)
    if failure is not None:
        verdict = Verdict(
            "Waiting",
            "NotListening",
            failure.message,
            generation=desired.generation,
            wake_at=failure.retry_at,
        )
        return KeyPlan(desired.key, (), verdict)
    seen = "does not listen" if listens is None else "its manifest has changed"
    cause = Cause(seen, desired.file, desired.line, desired.revision)
    action = OpenSocket(desired.key, cause, spec, desired.spec_hash)
    return KeyPlan(
        desired.key, (action,), Verdict("Creating", "Opening", "is opened", generation=desired.generation)
    )


def plan_socket_removal(desired: Desired, world: World) -> KeyPlan:
    """What was made through it stays until its time is over; who is connected is not."""
    if desired.key not in world.sockets:
        return gone(desired)
    cause = Cause(seen_of(desired), desired.file, desired.line, desired.revision)
    return KeyPlan(desired.key, (CloseSocket(desired.key, cause),), removing(desired, "is closed"))
