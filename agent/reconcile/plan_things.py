"""Planning networks and volumes. Pure.

A network that changed is made anew when its last container has left it (the containers see it
coming and leave). A volume is never made anew, and removed only where its manifest says so; one that
nobody labelled is taken as it is. What bears a wanted name and another label is not ours: it is left,
and said. Called by `plan` alone.
"""

from __future__ import annotations

from dataclasses import replace

from agent.manifest.spec import NetworkSpec, VolumeSpec
from agent.policy.judge import bind_root
from agent.reconcile import convert
from agent.reconcile.actions import (
    Cause,
    CreateNetwork,
    CreateVolume,
    DeleteNetwork,
    DeleteVolume,
    KeyPlan,
    RepairDrift,
)
from agent.reconcile.conditions import Verdict
from agent.reconcile.needs import is_another_s, is_ours, is_outdated
from agent.reconcile.plan_containers import FAILURE_PHASES
from agent.reconcile.removal import blocking_failure, gone, removing, seen_of, token_of, waits_for_text
from agent.reconcile.repairs import due
from agent.reconcile.world import Desired, World
from runtime.model import NetworkConfig, NetworkState, VolumeConfig
from runtime.volume_options import is_bind
from store.records import Key


def plan_network(desired: Desired, spec: NetworkSpec, world: World, now: float) -> KeyPlan:
    name = convert.network_name(desired.key, spec)
    state = world.networks.get(name)
    if spec.external:
        return _external(desired, "network", name, is_there=state is not None)
    if state is not None and not is_ours(state, desired.key):
        return KeyPlan(desired.key, (), _not_ours(desired, "network", name))
    if failure := _failure(desired, world, now):
        return KeyPlan(desired.key, (), failure)
    former = tuple(network for network in world.actual_of(desired.key).networks if network.name != name)
    plan = _plan_network_named(desired, spec, state, world, now)
    return _with_former(plan, _cause(desired, f"is called {name} now"), former, world) if former else plan


def _with_former(plan: KeyPlan, cause: Cause, former: tuple[NetworkState, ...], world: World) -> KeyPlan:
    """It was renamed: the one of the old name goes when it is empty, and keeps nobody waiting."""
    users = frozenset[Key]().union(*(users_of(network.name, world) for network in former))
    leaving = tuple(
        DeleteNetwork(plan.key, cause, network.name)
        for network in former
        if not users_of(network.name, world)
    )
    verdict = replace(plan.verdict, is_settled=False, waiting_for=plan.verdict.waiting_for | users)
    return KeyPlan(plan.key, (*plan.actions, *leaving), verdict)


def _plan_network_named(
    desired: Desired, spec: NetworkSpec, state: NetworkState | None, world: World, now: float
) -> KeyPlan:
    if state is None:
        create = CreateNetwork(desired.key, _cause(desired, "is not there"), _network_config(desired, spec))
        return KeyPlan(desired.key, (create,), _creating(desired))
    if is_outdated(desired, state):
        return _replace_network(desired, spec, state, world)
    mine = (drift for drift in world.actual_of(desired.key).drifts if drift.subject == state.name)
    drifts, wake_at = due(mine, world.memory_of(desired.key).repairs, now)
    repairs = tuple(RepairDrift(desired.key, _cause(desired, drift.detail), drift) for drift in drifts)
    verdict = _ready(desired, is_settled=not repairs)
    return KeyPlan(desired.key, repairs, replace(verdict, wake_at=wake_at))


def _replace_network(desired: Desired, spec: NetworkSpec, state: NetworkState, world: World) -> KeyPlan:
    if users := users_of(state.name, world):
        verdict = Verdict(
            "Waiting", "NetworkInUse", waits_for_text(users).replace("to be gone", "to leave it"),
            generation=desired.generation, waiting_for=users,
        )  # fmt: skip
        return KeyPlan(desired.key, (), verdict)
    cause = _cause(desired, "its spec changed")
    actions = (
        DeleteNetwork(desired.key, cause, state.name),
        CreateNetwork(desired.key, cause, _network_config(desired, spec)),
    )
    return KeyPlan(desired.key, actions, _creating(desired))


def plan_network_removal(desired: Desired, world: World, now: float) -> KeyPlan:
    """For a network that is to go, or is wanted absent. Only what bears our label is touched."""
    ours = world.actual_of(desired.key).networks
    if not ours or (isinstance(desired.spec, NetworkSpec) and desired.spec.external):
        return gone(desired)
    users = frozenset(key for key in world.dependents.get(desired.key, ()) if world.actual_of(key).replicas)
    users = users.union(*(users_of(network.name, world) for network in ours))
    if users:
        return KeyPlan(desired.key, (), removing(desired, waits_for_text(users), users))
    if failure := _failure(desired, world, now):
        return KeyPlan(desired.key, (), failure)
    cause = _cause(desired, seen_of(desired))
    actions = tuple(DeleteNetwork(desired.key, cause, network.name) for network in ours)
    return KeyPlan(desired.key, actions, removing(desired, ""))


def users_of(network: str, world: World) -> frozenset[Key]:
    """The keys whose network namespaces are on a network."""
    return frozenset(sandbox.key for sandbox in world.sandboxes.values() if network in sandbox.networks)


# --- volumes ------------------------------------------------------------------------------------


def plan_volume(desired: Desired, spec: VolumeSpec, world: World, now: float) -> KeyPlan:
    name = convert.volume_name(desired.key, spec)
    state = world.volumes.get(name)
    if spec.external:
        return _external(desired, "volume", name, is_there=state is not None)
    if state is not None and is_another_s(state, desired.key, world):
        return KeyPlan(desired.key, (), _not_ours(desired, "volume", name))
    if failure := _failure(desired, world, now):
        return KeyPlan(desired.key, (), failure)
    if state is None:
        create = CreateVolume(
            desired.key, _cause(desired, "is not there"), _volume_config(desired, spec, world)
        )
        return KeyPlan(desired.key, (create,), _creating(desired))
    if dict(state.options) != spec.driver_opts:
        return KeyPlan(desired.key, (), _other_options(desired, name))
    return KeyPlan(desired.key, (), _ready(desired, is_settled=True))


def plan_volume_removal(desired: Desired, world: World, now: float) -> KeyPlan:
    """A volume's data outlives its manifest, unless that said otherwise: nothing is lost."""
    ours = world.actual_of(desired.key).volumes
    spec = desired.spec if isinstance(desired.spec, VolumeSpec) else None
    if not ours or (spec is not None and spec.external):
        return gone(desired)
    if desired.deleting and (spec is None or spec.keep):
        return gone(desired, "its data is kept")
    if users := _volume_users(desired.key, {volume.name for volume in ours}, world):
        return KeyPlan(desired.key, (), removing(desired, waits_for_text(users), users))
    if failure := _failure(desired, world, now):
        return KeyPlan(desired.key, (), failure)
    cause = _cause(desired, seen_of(desired) + (", and said keep: false" if desired.deleting else ""))
    actions = tuple(DeleteVolume(desired.key, cause, volume.name) for volume in ours)
    return KeyPlan(desired.key, actions, removing(desired, ""))


def _volume_users(key: Key, names: set[str], world: World) -> frozenset[Key]:
    """Those that need it and are there, and those whose containers have it still: one that waits for
    something new runs on as it was."""
    need = {user for user in world.dependents.get(key, ()) if world.actual_of(user).replicas}
    return frozenset(need.union(*(world.volume_users.get(name, ()) for name in names)))


# --- common -------------------------------------------------------------------------------------


def _cause(desired: Desired, seen: str) -> Cause:
    return Cause(seen, desired.file, desired.line, desired.revision)


def _labels(desired: Desired) -> dict[str, str]:
    origin = convert.Origin(desired.file, desired.line, desired.revision)
    return convert.labels_of(desired.key, 0, desired.recreate_hash, 0, origin)


def _network_config(desired: Desired, spec: NetworkSpec) -> NetworkConfig:
    config = convert.network_config(desired.key, spec)
    return replace(config, labels={**config.labels, **_labels(desired)})


def _volume_config(desired: Desired, spec: VolumeSpec, world: World) -> VolumeConfig:
    """Of the policy's and a scoped socket's directory the inner one: both hold a bind's device."""
    config = convert.volume_config(desired.key, spec)
    root = bind_root(world.policy, spec.driver_opts["device"]) if is_bind(spec.driver_opts) else ""
    labels = {**config.labels, **_labels(desired)}
    return replace(config, labels=labels, below=max(root, config.below, key=len))


def _failure(desired: Desired, world: World, now: float) -> Verdict | None:
    failure = blocking_failure(world.memory_of(desired.key), 0, token_of(desired, None), now)
    if failure is None:
        return None
    phase, reason = FAILURE_PHASES[failure.kind]
    return Verdict(phase, reason, failure.message, generation=desired.generation, wake_at=failure.retry_at)


def _external(desired: Desired, kind: str, name: str, *, is_there: bool) -> KeyPlan:
    if is_there:
        return KeyPlan(desired.key, (), _ready(desired, is_settled=True))
    message = f"{kind} {name} is external and not there: somebody else has to make it"
    return KeyPlan(
        desired.key, (), Verdict("Waiting", "ExternalMissing", message, generation=desired.generation)
    )


def _not_ours(desired: Desired, kind: str, name: str) -> Verdict:
    message = f"a {kind} {name} is there and is not ours: name another, or say external: true"
    return Verdict("Stalled", "NotOurs", message, generation=desired.generation)


def _other_options(desired: Desired, name: str) -> Verdict:
    """A volume is never made anew by itself: what is in it would be elsewhere."""
    message = f"volume {name} has other driver_opts: name another, or say ensure: absent first"
    return Verdict("Stalled", "OtherOptions", message, generation=desired.generation)


def _creating(desired: Desired) -> Verdict:
    return Verdict("Creating", "Creating", "", generation=desired.generation)


def _ready(desired: Desired, *, is_settled: bool) -> Verdict:
    return Verdict(
        "Ready", "Ready", "", generation=desired.generation, is_started=True, is_settled=is_settled
    )
