"""The actions that planning one container object is made of, and what its replicas have in common. Pure.

Called by `plan_containers`, which decides; here each function makes one kind of action, with its cause.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from agent.manifest import hashing
from agent.manifest.spec import ContainerSpec, Healthcheck
from agent.policy.judge import bind_root
from agent.reconcile import convert
from agent.reconcile.actions import (
    Action,
    AskSignatures,
    BuildImage,
    Cause,
    CreateContainer,
    DeleteContainer,
    DeleteSandbox,
    PullImage,
    RepairDrift,
    StartContainer,
    StopContainer,
    UpdateResources,
)
from agent.reconcile.api_objects import is_api
from agent.reconcile.build_recipe import build_recipe
from agent.reconcile.health import healthcheck_of
from agent.reconcile.memory import Memory
from agent.reconcile.needs import Needs, find_needs, image_of, joined_id, running_id
from agent.reconcile.policy import ExitCause
from agent.reconcile.refresh import Asking, find_asking
from agent.reconcile.removal import stop_of
from agent.reconcile.repairs import due
from agent.reconcile.signatures import NEVER_ASKED
from agent.reconcile.world import Actual, Desired, Replica, World
from runtime.model import ImageInfo
from store.records import Key


@dataclass(frozen=True, slots=True)
class Context:
    """All that the replicas of one object have in common."""

    desired: Desired
    spec: ContainerSpec
    world: World
    actual: Actual
    memory: Memory
    needs: Needs
    image: ImageInfo | None
    asking: Asking
    check: Healthcheck | None
    recreate_hash: str
    now: float

    def cause(self, seen: str) -> Cause:
        return Cause(seen, self.desired.file, self.desired.line, self.desired.revision)

    def is_current(self, replica: Replica) -> bool:
        """Made for this spec, and of the image that its reference names now."""
        if replica.recreate_hash != self.recreate_hash:
            return False
        if self.image is None:  # of a tag with a digest, nobody can say that what runs is of it
            return hashing.without_digest(self.spec.image) == self.spec.image
        return replica.state.image in ("", self.image.id)


def context_of(desired: Desired, spec: ContainerSpec, world: World, now: float) -> Context:
    image = image_of(spec, world)
    return Context(
        desired, spec, world, world.actual_of(desired.key), world.memory_of(desired.key),
        find_needs(desired, spec, world, now), image, find_asking(desired, spec, world, now),
        healthcheck_of(spec, image), _recreate_hash(desired, spec, world), now,
    )  # fmt: skip


def _recreate_hash(desired: Desired, spec: ContainerSpec, world: World) -> str:
    """The spec's hash, and with it what names in the spec stand for, where that is not the rule."""
    project = desired.key.project
    if is_api(desired.key):  # what its names stand for was settled when it was made, as Docker does
        return desired.recreate_hash
    extra = []
    for mode in (spec.pid, spec.ipc):
        kind, _, name = mode.partition(":")
        if kind in ("service", "container"):
            extra.append(running_id(project, name, world))
    names = (
        *((key, world.network_name(key)) for key in desired.needs_networks),
        *((key, world.volume_name(key)) for key in desired.needs_volumes),
    )
    extra += [name for key, name in names if name not in (convert.real_name(key), key.name)]
    if not extra:
        return desired.recreate_hash
    return hashlib.sha256("\0".join((desired.recreate_hash, *extra)).encode()).hexdigest()[:32]


def pulls(context: Context) -> tuple[PullImage, ...]:
    """The image is to be fetched, or asked for, and nobody does yet."""
    spec, reference = context.spec, context.spec.image
    pull = context.world.pulls.get(reference)
    if pull is not None and pull.is_running:
        return ()
    seen = "its image is not here" if pull is None else f"its image is not here after {pull.count} tries"
    if context.image is not None:
        seen = context.asking.seen
    elif reference in context.world.images:
        seen = f"its image is here for {context.world.images[reference].architecture}"
    only_newer = context.image is not None and spec.pull_policy != "always"
    cause, key = context.cause(seen), context.desired.key
    return (PullImage(key, cause, reference, platform=spec.platform, only_newer=only_newer),)


def signatures(context: Context) -> tuple[AskSignatures, ...]:
    """Its registry is to be asked for signatures of the image that is here."""
    digests, key = context.needs.asks_signatures_of, context.desired.key
    if not digests:
        return ()
    pull = context.world.signatures.get(context.spec.image, NEVER_ASKED).pull
    seen = "no signature of its image that counts is here"
    seen += f" after {pull.count} tries" if pull is not None and pull.count else ""
    return (AskSignatures(key, context.cause(seen), context.spec.image, digests),)


def builds(context: Context) -> tuple[BuildImage, ...]:
    """The image is to be built, and is not being built."""
    reference, key = context.spec.image, context.desired.key
    pull = context.world.pulls.get(reference)
    if pull is not None and pull.is_running:
        return ()
    seen = "its image is not built" if pull is None else f"its image is not built after {pull.count} tries"
    return (
        BuildImage(key, context.cause(seen), reference, build_recipe(context.spec, context.world.policy)),
    )


def create(context: Context, index: int, stale: tuple[Replica, ...]) -> CreateContainer:
    desired, image = context.desired, context.image
    assert image is not None  # needs.create waits for it
    same = [replica.attempt for replica in stale if replica.recreate_hash == context.recreate_hash]
    config = convert.container_config(
        desired.key,
        context.spec,
        index,
        image=image,
        recreate_hash=context.recreate_hash,
        attempt=max(same) + 1 if same else 0,
        names=names_of(context, index),
        origin=convert.Origin(desired.file, desired.line, desired.revision),
    )
    seen = "is not there"
    if stale:
        config = replace(config, replaces=tuple(replica.id for replica in stale))
    if same:
        seen = f"{context.spec.image} is another image now"
    elif stale:
        seen = "its spec changed"
    return CreateContainer(desired.key, context.cause(seen), config, index=index)


def names_of(context: Context, index: int) -> convert.Names:
    """What the names in its spec stand for."""
    desired, world, spec = context.desired, context.world, context.spec
    project = desired.key.project
    owner = world.container_key(project, desired.joins) if desired.joins else None
    sandboxes = {desired.joins: world.sandbox_of(owner, 1)} if owner else {}
    shared = [mode.partition(":")[2] for mode in (spec.pid, spec.ipc)]
    return convert.Names(
        instance=world.instance,
        networks=dict(
            zip(convert.networks_of(spec), map(world.network_name, desired.needs_networks), strict=True)
        ),
        volumes=dict(
            zip(convert.volumes_of(spec), map(world.volume_name, desired.needs_volumes), strict=True)
        ),
        sandboxes=sandboxes,
        containers={name: joined_id(desired.key, name, world) for name in shared if name},
        own_sandbox=world.sandbox_of(desired.key, index),
        bind_roots={} if world.policy.is_open else _bind_roots(context),
    )


def _bind_roots(context: Context) -> dict[str, str]:
    sources = [mount.source for mount in context.spec.mounts if mount.type == "bind"]
    return {source: bind_root(context.world.policy, source) for source in sources}


def start(context: Context, id: str, index: int, seen: str, *, is_restart: bool) -> StartContainer:
    desired, world = context.desired, context.world
    is_own = not desired.joins and context.spec.network_mode != "host"
    return StartContainer(
        desired.key,
        context.cause(seen),
        id,
        is_restart=is_restart,
        sandbox=world.sandbox_of(desired.key, index) if is_own else "",
        networks=tuple(world.network_name(key) for key in desired.needs_networks),
        dependency_runs={
            f"{key.name}#{index}": runs_of(key, world)
            for key, dependency in desired.depends_on
            if dependency.restart
        },
        index=index,
    )


def stop(context: Context, replica: Replica, seen: str, by: ExitCause = "us") -> StopContainer:
    return stop_of(context.desired, replica, context.cause(seen), by)


def stops(context: Context, replicas: tuple[Replica, ...], seen: str) -> tuple[Action, ...]:
    return tuple(stop(context, replica, seen) for replica in replicas if replica.is_live)


def deletes(context: Context, replicas: tuple[Replica, ...], seen: str) -> tuple[Action, ...]:
    cause = context.cause(seen)
    return tuple(DeleteContainer(context.desired.key, cause, r.id, index=r.index) for r in replicas)


def clear(context: Context, stale: tuple[Replica, ...]) -> tuple[Action, ...]:
    """What is left of other versions goes; the live ones first are stopped."""
    return (*stops(context, stale, "was replaced"), *deletes(context, stale, "was replaced"))


def leave_network(context: Context, replica: Replica) -> tuple[Action, ...]:
    cause = context.cause(f"network {context.needs.outdated_network} is made anew")
    sandbox = context.world.sandbox_of(context.desired.key, replica.index)
    if replica.state.sandbox != sandbox or sandbox not in context.world.sandboxes:
        return ()
    return (DeleteSandbox(context.desired.key, cause, sandbox, index=replica.index),)


def update(context: Context, current: Replica) -> tuple[Action, ...]:
    wanted = convert.resources_of(context.spec)
    if current.state.resources == wanted:
        return ()
    cause = context.cause("its limits changed")
    return (UpdateResources(context.desired.key, cause, current.id, wanted, index=current.index),)


def repairs(context: Context, current: Replica) -> tuple[tuple[Action, ...], float | None]:
    """What to put back of a running replica now, and when the rest is due."""
    mine = () if current.id in context.actual.broken else (current.id, current.state.sandbox)
    drifts, wake_at = due(
        (drift for drift in context.actual.drifts if drift.subject in mine),
        context.memory.repairs,
        context.now,
    )
    key, index = context.desired.key, current.index
    return tuple(RepairDrift(key, context.cause(d.detail), d, index=index) for d in drifts), wake_at


def runs_of(key: Key, world: World) -> str:
    return ",".join(sorted(replica.id[:16] for replica in world.actual_of(key).replicas if replica.is_live))
