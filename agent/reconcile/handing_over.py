"""A container of the Docker API becomes a manifest's, and runs on. Pure.

    wish (memory of the old key: for whom, and for which spec)  ->  a manifest wants that very spec
      -> the container's labels are rewritten  ->  the old entry, which has nothing left, is forgotten

Level-based: what is to be done follows from the wish, from what is wanted and from which key the container
bears now, so a crash between any two steps is made good by the next look. From the moment on that the
manifest wants it, the old key does nothing more: never are there two, nor none. Called by `plan`.
"""

from __future__ import annotations

from dataclasses import replace

from agent.manifest.spec import ContainerSpec
from agent.reconcile import convert
from agent.reconcile.actions import AdoptContainer, Cause, ForgetObject, KeyPlan
from agent.reconcile.conditions import Verdict
from agent.reconcile.memory import HandedOver, Memory
from agent.reconcile.removal import blocking_failure, token_of
from agent.reconcile.world import Desired, World, replica_of
from store.records import Key


def wish_of(former: Desired, wanted: Key, spec_hash: str) -> HandedOver:
    """To be kept in the memory of the former key. It holds for the generation that was looked at."""
    return HandedOver(str(wanted), spec_hash, former.generation)


def heir_of(former: Desired, world: World) -> Desired | None:
    """The manifest's object that takes it over; None while no manifest wants just that."""
    wish = world.memory_of(former.key).handed_over
    if wish is None or former.deleting or wish.generation != former.generation:
        return None
    heir = world.wanted(Key.parse(wish.key))
    if heir is None or heir.owner != "git" or heir.spec_hash != wish.spec_hash or heir.denied:
        return None
    return heir


def former_of(heir: Desired, world: World) -> Desired | None:
    """Whose container this object is to take over; None when that is nobody's, or is done."""
    former = world.desired.get(world.handed.get(heir.key, heir.key))
    if former is None or former.key == heir.key or heir_of(former, world) is not heir:
        return None
    return former if world.actual_of(former.key).replicas else None


def plan_former(former: Desired, heir: Desired, world: World) -> KeyPlan:
    """It has an heir: it is left alone, and forgotten as soon as nothing bears its key."""
    verdict = Verdict(
        "Pending", "HandedOver", f"{heir.key} takes it over ({heir.file}:{heir.line})",
        generation=former.generation, waiting_for=frozenset({heir.key}), is_started=True,
    )  # fmt: skip
    actual = world.actual_of(former.key)
    if actual.replicas or actual.orphan_sandboxes:
        return KeyPlan(former.key, (), verdict)
    cause = Cause(f"{heir.key} has it now", heir.file, heir.line, heir.revision)
    return KeyPlan(former.key, (ForgetObject(former.key, cause),), verdict)


def plan_heir(heir: Desired, former: Desired, recreate_hash: str, world: World, now: float) -> KeyPlan:
    """Every container of the former is made to bear this key, as made for this very spec."""
    cause = Cause(f"takes over what the Docker API made as {former.key}", heir.file, heir.line, heir.revision)
    assert isinstance(heir.spec, ContainerSpec)
    token = token_of(heir, world.images.get(heir.spec.image))
    verdict = Verdict("Pending", "Adopting", f"takes over {former.key}", generation=heir.generation)
    if failure := blocking_failure(world.memory_of(heir.key), 1, token, now):
        held = replace(verdict, phase="Waiting", message=failure.message, wake_at=failure.retry_at)
        return KeyPlan(heir.key, (), held)
    actions = tuple(
        AdoptContainer(
            heir.key,
            cause,
            replica.id,
            former.key,
            labels_of(heir, index, recreate_hash),
            index=index,
        )
        for index, replica in enumerate(world.actual_of(former.key).replicas, 1)
    )
    return KeyPlan(heir.key, actions, verdict)


def labels_of(heir: Desired, index: int, recreate_hash: str) -> dict[str, str]:
    """Of a container that is the heir's, as if it had been made for it."""
    origin = convert.Origin(heir.file, heir.line, heir.revision)
    own = convert.labels_of(heir.key, index, recreate_hash, 0, origin)
    return {**(heir.spec.labels if isinstance(heir.spec, ContainerSpec) else {}), **own}


def done(world: World, former: Desired, heir: Desired, recreate_hash: str) -> World:
    """The world as it will be: the former has nothing, and is not wanted."""
    moved = tuple(
        replica_of(replace(replica.state, labels=labels_of(heir, index, recreate_hash)))
        for index, replica in enumerate(world.actual_of(former.key).replicas, 1)
    )
    others = {key: actual for key, actual in world.actual.items() if key != former.key}
    sandboxes = {
        id: replace(sandbox, key=heir.key) if sandbox.key == former.key else sandbox
        for id, sandbox in world.sandboxes.items()
    }
    memory = inherited(world.memory_of(heir.key), world.memory_of(former.key))
    return replace(
        world,
        desired={key: desired for key, desired in world.desired.items() if key != former.key},
        actual={**others, heir.key: replace(world.actual_of(heir.key), replicas=moved)},
        memory={**world.memory, heir.key: memory},
        sandboxes=sandboxes,
        handed={},
    )


def inherited(memory: Memory, former: Memory) -> Memory:
    """What is known of the past of the containers goes with them."""
    return replace(
        memory,
        exits=former.exits,
        health=dict(former.health),
        restarts=memory.restarts + former.restarts,
        restart_marks=dict(former.restart_marks),
        dependency_runs=dict(former.dependency_runs),
    )
