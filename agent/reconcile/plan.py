"""plan(desired, actual, now): what to do, why, and how each object stands. Total, deterministic, pure.

The loop calls `plan_key` for the keys that are due; `setpoint plan` and the tests call `plan` for
all. No I/O, no clock, no random, no logging: the same inputs print the same plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from agent.manifest.spec import AnySpec, ContainerSpec, ImageSpec, NetworkSpec, SocketSpec
from agent.reconcile.actions import Cause, KeyPlan, Plan, RepairDrift
from agent.reconcile.conditions import Verdict
from agent.reconcile.container_actions import context_of
from agent.reconcile.handing_over import former_of, heir_of, plan_former, plan_heir
from agent.reconcile.overrides import plan_overridden
from agent.reconcile.plan_containers import plan_container
from agent.reconcile.plan_images import plan_image, plan_image_removal
from agent.reconcile.plan_sockets import plan_socket, plan_socket_removal
from agent.reconcile.plan_things import (
    plan_network,
    plan_network_removal,
    plan_volume,
    plan_volume_removal,
)
from agent.reconcile.removal import is_left_alone, plan_container_removal
from agent.reconcile.repairs import due
from agent.reconcile.world import HOST, Desired, World
from store.records import Key


def plan(world: World, now: float) -> Plan:
    """Every key, what is needed before what needs it; each sees the verdicts of those before it."""
    verdicts: dict[Key, Verdict] = {}
    world = replace(world, verdicts=verdicts)
    plans = []
    host = (HOST,) if HOST in world.actual else ()
    for key in (*in_order(world.desired), *host):
        found = plan_key(key, world, now)
        verdicts[key] = found.verdict
        plans.append(found)
    return Plan(tuple(plans))


def plan_key(key: Key, world: World, now: float) -> KeyPlan:
    """One key: a ladder of early returns. A key that nobody wants and no inventory names gets none."""
    if key == HOST:
        return _plan_host(world, now)
    desired = world.desired.get(key)
    if desired is None:
        return KeyPlan(key, (), Verdict("Pending", "NotOurs", "no manifest and no inventory names it"))
    if (override := world.memory_of(key).override) is not None:
        return plan_overridden(desired, override, world, now)
    if is_left_alone(desired, world):
        return KeyPlan(key, (), _suspended(desired, world))
    if (heir := heir_of(desired, world)) is not None:
        return plan_former(desired, heir, world)
    spec = desired.spec
    if desired.deleting or (spec is not None and spec.ensure == "absent"):
        return _plan_removal(desired, world, now)
    if spec is None:
        message = "its stored spec cannot be read by this version: waits for the source"
        return KeyPlan(key, (), Verdict("Pending", "SpecUnreadable", message, generation=desired.generation))
    return _plan_wanted(desired, spec, world, now)


def _plan_host(world: World, now: float) -> KeyPlan:
    """What this instance needs of the kernel as a whole is put back whoever needs it."""
    drifts, wake_at = due(world.actual_of(HOST).drifts, world.memory_of(HOST).repairs, now)
    repairs = tuple(RepairDrift(HOST, Cause(drift.detail), drift) for drift in drifts)
    return KeyPlan(HOST, repairs, Verdict("Ready", "Ready", is_settled=not repairs, wake_at=wake_at))


def _plan_wanted(desired: Desired, spec: AnySpec, world: World, now: float) -> KeyPlan:
    if isinstance(spec, ContainerSpec):
        if (former := former_of(desired, world)) is not None:
            hash = context_of(desired, spec, world, now).recreate_hash
            return plan_heir(desired, former, hash, world, now)
        return plan_container(desired, spec, world, now)
    if isinstance(spec, NetworkSpec):
        return plan_network(desired, spec, world, now)
    if isinstance(spec, ImageSpec):
        return plan_image(desired, spec, world, now)
    if isinstance(spec, SocketSpec):
        return plan_socket(desired, spec, world, now)
    return plan_volume(desired, spec, world, now)


def _plan_removal(desired: Desired, world: World, now: float) -> KeyPlan:
    if desired.key.kind == "network":
        return plan_network_removal(desired, world, now)
    if desired.key.kind == "volume":
        return plan_volume_removal(desired, world, now)
    if desired.key.kind == "image":
        return plan_image_removal(desired)
    if desired.key.kind == "socket":
        return plan_socket_removal(desired, world)
    return plan_container_removal(desired, world, now)


def _suspended(desired: Desired, world: World) -> Verdict:
    by = "an operator" if world.memory_of(desired.key).is_suspended else "its manifest"
    return Verdict(
        "Suspended",
        "Suspended",
        f"is left alone: suspended by {by}",
        generation=desired.generation,
        is_started=world.actual_of(desired.key).is_live or desired.key.kind != "container",
        is_settled=True,
    )


# --- order --------------------------------------------------------------------------------------


def in_order(desired: Mapping[Key, Desired]) -> Iterator[Key]:
    """Keys sorted, each after all that it needs; in a cycle, the first by name comes first."""
    seen: set[Key] = set()
    for key in sorted(desired):
        yield from _with_needs(key, desired, seen)


def _with_needs(start: Key, desired: Mapping[Key, Desired], seen: set[Key]) -> Iterator[Key]:
    """Depth first without recursion: a chain of thousands must not overflow the stack."""
    stack = [(start, False)]
    while stack:
        key, is_done = stack.pop()
        if is_done:
            yield key
            continue
        if key in seen or key not in desired:
            continue
        seen.add(key)
        stack.append((key, True))
        stack.extend((needed, False) for needed in sorted(desired[key].needed(), reverse=True))
