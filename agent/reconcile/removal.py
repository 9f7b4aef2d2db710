"""Planning what goes: containers, their network namespaces, and the inventory's entry last. Pure.

What depends on a thing and goes too, goes first. A mass prune waits for a yes. The entry is
forgotten only when nothing of it is there any more.
"""

from __future__ import annotations

from dataclasses import replace

from agent.manifest.spec import AnySpec, Asked, ContainerSpec
from agent.reconcile.actions import (
    Action,
    Cause,
    DeleteContainer,
    DeleteSandbox,
    DeleteVolume,
    ForgetObject,
    KeyPlan,
    StopContainer,
)
from agent.reconcile.conditions import Verdict
from agent.reconcile.memory import Failure, Memory
from agent.reconcile.needs import find_cycle
from agent.reconcile.policy import ExitCause
from agent.reconcile.world import Desired, Replica, World
from runtime.model import ImageInfo
from store.records import Key

DEFAULT_GRACE_SECONDS = 10.0


def plan_container_removal(desired: Desired, world: World, now: float) -> KeyPlan:
    """For a container object that is to go, or is wanted absent."""
    key, actual = desired.key, world.actual_of(desired.key)
    if is_held(desired, world):
        return KeyPlan(key, (), _held(desired, world))
    if waiting := going_dependents(desired, world):
        return KeyPlan(key, (), removing(desired, waits_for_text(waiting), waiting))
    if not actual.replicas and not actual.orphan_sandboxes:
        return _gone_with_volumes(desired, world, now)
    seen = seen_of(desired)
    cause = Cause(seen, desired.file, desired.line, desired.revision)
    memory, token = world.memory_of(key), token_of(desired, None)
    blocked = {
        replica.index: failure
        for replica in actual.replicas
        if (failure := blocking_failure(memory, replica.index, token, now, actual.replicas))
    }
    going = tuple(replica for replica in actual.replicas if replica.index not in blocked)
    left = remove_sandboxes(desired, actual.orphan_sandboxes, memory, token, now)
    if isinstance(left, Failure):
        blocked[0], left = left, ()
    actions = (*remove_replicas(desired, going, world, cause), *left)
    if not blocked:
        return KeyPlan(key, actions, removing(desired, seen))
    failure = next(iter(blocked.values()))
    wake_at = min((each.retry_at for each in blocked.values() if each.retry_at is not None), default=None)
    verdict = removing(desired, failure.message, wake_at=wake_at)
    stalled = "Unkillable" if failure.kind == "unkillable" else ""
    return KeyPlan(key, actions, replace(verdict, stalled=stalled))


def _gone_with_volumes(desired: Desired, world: World, now: float) -> KeyPlan:
    """With the volumes that are to go with it, right before its entry: each is tried once."""
    plan, names = gone(desired), _taken_volumes(desired)
    if not names:
        return plan
    failure = blocking_failure(world.memory_of(desired.key), 0, token_of(desired, None), now)
    if failure is not None:
        return KeyPlan(desired.key, (), removing(desired, failure.message, wake_at=failure.retry_at))
    cause = Cause(f"{seen_of(desired)}, with its volumes")
    going = (DeleteVolume(desired.key, cause, name, unless_used=True) for name in names)
    return replace(plan, actions=(*going, *plan.actions))


def _taken_volumes(desired: Desired) -> tuple[str, ...]:
    spec = desired.spec
    if not desired.deleting or not isinstance(spec, ContainerSpec) or spec.asked is None:
        return ()
    return spec.asked.takes_volumes


def seen_of(desired: Desired) -> str:
    if not desired.deleting:
        return "is wanted absent"
    return {"git": "is in no manifest any more", "engine": "nobody uses it"}.get(desired.owner, "was removed")


def gone(desired: Desired, note: str = "") -> KeyPlan:
    """Nothing is left: forget the entry, or be content that it is absent."""
    if not desired.deleting:
        verdict = Verdict("Stopped", "Absent", "", generation=desired.generation, is_settled=True)
        return KeyPlan(desired.key, (), verdict)
    cause = Cause(note or "its removal is confirmed", desired.file, desired.line, desired.revision)
    return KeyPlan(desired.key, (ForgetObject(desired.key, cause),), removing(desired, note))


def removing(
    desired: Desired, message: str, waiting: frozenset[Key] = frozenset(), wake_at: float | None = None
) -> Verdict:
    reason = "WaitsForDependents" if waiting else "Removing"
    return Verdict(
        "Removing", reason, message, generation=desired.generation, waiting_for=waiting, wake_at=wake_at
    )


# --- who goes first -----------------------------------------------------------------------------


def going_dependents(desired: Desired, world: World) -> frozenset[Key]:
    """Those that need this key, are on their way out too, and still run."""
    going = frozenset(
        key
        for key in world.dependents.get(desired.key, frozenset())
        if _is_going(world.desired.get(key), world) and world.actual_of(key).is_live
    )
    # Two that depend on each other would wait for ever; then both may go.
    return frozenset() if going and find_cycle(desired.key, world) else going


def _is_going(desired: Desired | None, world: World) -> bool:
    if desired is None or not isinstance(desired.spec, ContainerSpec) or is_left_alone(desired, world):
        return False
    if desired.deleting:
        return not is_held(desired, world)
    return desired.spec.ensure != "running"


def is_left_alone(desired: Desired, world: World) -> bool:
    """Suspended by an operator, or by a manifest that is still there; or in somebody's own hands."""
    memory = world.memory_of(desired.key)
    if memory.is_suspended or memory.override is not None:
        return True
    return desired.spec is not None and desired.spec.suspend and not desired.deleting


def waits_for_text(keys: frozenset[Key]) -> str:
    return "waits for " + ", ".join(str(key) for key in sorted(keys)) + " to be gone"


def is_held(desired: Desired, world: World) -> bool:
    """A prune that nobody said yes to, of something that runs, while the guard is up."""
    return world.prune.is_held and is_unasked(desired, world)


def is_unasked(desired: Desired, world: World) -> bool:
    """It runs, no manifest names it any more, and nobody said yes to that: the guard counts these."""
    if not desired.deleting or desired.owner != "git":
        return False
    acknowledged = world.memory_of(desired.key).prune_acknowledged
    return acknowledged != desired.revision and world.actual_of(desired.key).is_live


def _held(desired: Desired, world: World) -> Verdict:
    guard = world.prune
    return Verdict(
        "Waiting",
        "PruneHeld",
        f"revision {desired.revision[:12]} would remove {guard.going} of the {guard.running} that run: "
        "say yes with `setpoint prune --yes`",
        generation=desired.generation,
    )


# --- actions ------------------------------------------------------------------------------------


def remove_replicas(
    desired: Desired, replicas: tuple[Replica, ...], world: World, cause: Cause
) -> tuple[Action, ...]:
    """Of each index: stop all that is live, then the namespace they share, then the containers: whose
    labels keep the rest findable till last."""
    key = desired.key
    actions: list[Action] = []
    for index in sorted({replica.index for replica in replicas}, reverse=True):
        mine = sorted((r for r in replicas if r.index == index), key=lambda r: r.id)
        own = world.sandbox_of(key, index)
        actions += [stop_of(desired, replica, cause) for replica in mine if replica.is_live]
        if any(replica.state.sandbox == own for replica in mine):
            actions.append(DeleteSandbox(key, cause, own, index=index))
        actions += [DeleteContainer(key, cause, replica.id, index=index) for replica in mine]
    return tuple(actions)


def remove_sandboxes(
    desired: Desired, sandboxes: tuple[str, ...], memory: Memory, token: str, now: float
) -> tuple[Action, ...] | Failure:
    """Those without a container, all as replica 0; or why they could not be removed, until it is time."""
    failure = blocking_failure(memory, 0, token, now) if sandboxes else None
    if failure is not None:
        return failure
    cause = Cause("a network namespace without its container", desired.file, desired.line, desired.revision)
    return tuple(DeleteSandbox(desired.key, cause, sandbox) for sandbox in sandboxes)


def stop_of(desired: Desired, replica: Replica, cause: Cause, by: ExitCause = "us") -> StopContainer:
    grace, signal = way_to_stop(desired.spec)
    return StopContainer(
        desired.key,
        cause,
        replica.id,
        grace_seconds=grace,
        signal=signal,
        by=by,
        started_at=replica.state.started_at,
        is_kill=is_kill(desired.spec),
        index=replica.index,
    )


def is_kill(spec: AnySpec | None) -> bool:
    return isinstance(spec, ContainerSpec) and spec.asked is not None and spec.asked.is_kill


def way_to_stop(spec: AnySpec | None) -> tuple[float, str]:
    """Seconds, and the signal: as the one who asks wants it, else the spec."""
    if not isinstance(spec, ContainerSpec):
        return DEFAULT_GRACE_SECONDS, ""
    asked = spec.asked or Asked()
    grace = spec.stop_grace_period if asked.stop_seconds is None else asked.stop_seconds
    return grace, asked.stop_signal or spec.stop_signal


# --- failures that hold a key back ----------------------------------------------------------------


def token_of(desired: Desired, image: ImageInfo | None) -> str:
    """What an action was tried for. Another spec, wish or image is worth another try."""
    going = "-" if desired.deleting else ""
    return f"{going}{desired.generation}:{image.id if image and not desired.deleting else ''}"


def blocking_failure(
    memory: Memory, index: int, token: str, now: float, replicas: tuple[Replica, ...] = ()
) -> Failure | None:
    """What holds a replica back until its time comes. replicas: its containers: what could not be killed
    holds back as long as one lives."""
    failure = memory.failures.get(str(index))
    if failure is None or failure.token != token:
        return None
    if failure.kind == "unkillable" and not any(r.is_live for r in replicas if r.index == index):
        return None
    return failure if failure.retry_at is None or failure.retry_at > now else None
