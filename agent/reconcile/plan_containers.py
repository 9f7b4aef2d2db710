"""Planning one wanted container object: each replica by itself, then one verdict of them all. Pure.

    (nothing) ── create ──> created ── start ──> running ── exit ──> stopped ── start ──> running
                                                    │
      a new spec: create the new one, stop the old, start the new, delete the old

What can be checked is checked (create) before what runs is touched. One replica is replaced at a
time: the next when all others are well. Called by `plan` alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from agent.manifest.spec import ContainerSpec, Restart
from agent.reconcile import container_actions as make
from agent.reconcile import policy
from agent.reconcile.actions import Action, KeyPlan
from agent.reconcile.conditions import PHASES, Phase, Verdict
from agent.reconcile.container_actions import Context
from agent.reconcile.damage import with_damage
from agent.reconcile.exits import exits_of_run, health_of
from agent.reconcile.memory import Failure
from agent.reconcile.needs import BUILDING, PULLING, Wait, build_of
from agent.reconcile.plan_changes import changes
from agent.reconcile.policy import ExitCause
from agent.reconcile.refresh import with_asking
from agent.reconcile.removal import (
    blocking_failure,
    going_dependents,
    remove_replicas,
    remove_sandboxes,
    token_of,
    waits_for_text,
)
from agent.reconcile.world import Desired, Replica, World
from store.records import Key

FAILURE_PHASES: dict[str, tuple[Phase, str]] = {
    "invalid": ("Stalled", "Invalid"),
    "unsupported": ("Stalled", "Unsupported"),
    "temporary": ("Waiting", "Temporary"),
    "unkillable": ("Stalled", "Unkillable"),
    "conflict": ("Waiting", "Conflict"),
    "missing": ("Waiting", "NotFound"),
    "bug": ("Waiting", "InternalError"),
}
NEVER = Restart(policy="no")
GOES_ON = "the previous version goes on running"
RUNS_ON = "it runs already and goes on, and is not started again"


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """What to do about one replica, and how it stands. stalled: a reason although one is running."""

    phase: Phase
    reason: str
    message: str = ""
    actions: tuple[Action, ...] = ()
    wake_at: float | None = None
    waiting_for: frozenset[Key] = frozenset()
    is_live: bool = False
    is_healthy: bool | None = None
    is_replacing: bool = False
    stalled: str = ""


def plan_container(desired: Desired, spec: ContainerSpec, world: World, now: float) -> KeyPlan:
    """For an object that is wanted, running or stopped."""
    context = make.context_of(desired, spec, world, now)
    wanted = range(1, spec.scale + 1)
    plans = _one_at_a_time([_plan_replica(context, index) for index in wanted])
    surplus = tuple(r for r in context.actual.replicas if r.index not in wanted)
    cause = context.cause(f"is one more than the {spec.scale} wanted")
    is_pulling = any(plan.reason == PULLING for plan in plans) or context.asking.is_due
    is_denied = context.needs.is_denied
    pulls: tuple[Action, ...] = make.pulls(context) if is_pulling and not is_denied else ()
    pulls += make.signatures(context)
    building = None if is_denied else build_of(spec, world, now)
    if building is not None and building.reason == BUILDING:
        pulls = make.builds(context)
    token = token_of(desired, context.image)
    left = remove_sandboxes(desired, context.actual.orphan_sandboxes, context.memory, token, now)
    actions = (
        *pulls,
        *(action for plan in plans for action in plan.actions),
        *remove_replicas(desired, surplus, world, cause),
        *(() if isinstance(left, Failure) else left),
    )
    # To ask for a newer image disturbs nobody; what waits for the answer is not settled by itself.
    verdict = _together(context, plans, is_busy=len(actions) > len(pulls))
    verdict = _with_building(with_asking(verdict, context.asking), building)
    if isinstance(left, Failure) and left.retry_at is not None:
        verdict = replace(verdict, wake_at=earliest(verdict.wake_at, left.retry_at))
    return KeyPlan(desired.key, actions, with_damage(verdict, spec.image, _images(context), world))


def _images(context: Context) -> tuple[str, ...]:
    """Those that it runs, and the one that its reference means."""
    runs = tuple(replica.state.image for replica in context.actual.replicas)
    return (*runs, *((context.image.id,) if context.image is not None else ()))


def _with_building(verdict: Verdict, building: Wait | None) -> Verdict:
    """What runs goes on while the image of its next version is built, and that is said."""
    if building is None or not verdict.is_ready:
        return verdict
    phase: Phase = "Pending" if building.reason == BUILDING else "Waiting"
    at = verdict.wake_at if building.until is None else earliest(verdict.wake_at, building.until)
    return replace(
        verdict, phase=phase, reason=building.reason, message=f"{building.message}; {GOES_ON}", wake_at=at,
        is_settled=False,
    )  # fmt: skip


def _one_at_a_time(plans: list[ReplicaPlan]) -> list[ReplicaPlan]:
    """Hold back all replacements of running replicas but the first, and that one too while a replica
    that is not being replaced is not well."""
    if not any(plan.is_replacing for plan in plans):
        return plans
    is_free = all(plan.phase in ("Running", "Completed") for plan in plans if not plan.is_replacing)
    result = []
    for plan in plans:
        if plan.is_replacing and not is_free:
            plan = replace(
                plan, phase="Pending", reason="WaitsItsTurn", actions=(),
                message="is replaced when the other replicas are well",
            )  # fmt: skip
        elif plan.is_replacing:
            is_free = False
        result.append(plan)
    return result


# --- one replica --------------------------------------------------------------------------------


def _plan_replica(context: Context, index: int) -> ReplicaPlan:
    mine = [replica for replica in context.actual.replicas if replica.index == index]
    matching = [replica for replica in mine if context.is_current(replica)]
    current = max(matching, key=_preference, default=None)
    stale = tuple(replica for replica in mine if replica is not current)
    token = token_of(context.desired, context.image)
    failure = blocking_failure(context.memory, index, token, context.now, tuple(mine))
    if current is None:
        return _plan_missing(context, index, stale, failure)
    if context.spec.ensure == "stopped":
        plan = _plan_stopped(context, current, stale)
    elif current.is_live:
        plan = _plan_live(context, current, stale, failure)
    else:
        plan = _plan_down(context, current, stale, failure)
    return plan if failure is not None else _with_changes(context, current, plan)


def _with_changes(context: Context, current: Replica, plan: ReplicaPlan) -> ReplicaPlan:
    actions, missing = changes(context, current)
    if not actions and not missing:
        return plan
    return replace(plan, actions=(*actions, *plan.actions), waiting_for=plan.waiting_for | missing)


def _preference(replica: Replica) -> tuple[bool, int, float, str]:
    """Of several made for the same spec, the one to keep: what runs, else the newest."""
    return (replica.is_live, replica.attempt, replica.state.created_at, replica.id)


def _plan_missing(
    context: Context, index: int, stale: tuple[Replica, ...], failure: Failure | None
) -> ReplicaPlan:
    if failure is not None:
        return _keep_previous(context, stale, failed(failure))
    if wait := context.needs.create:
        return _keep_previous(context, stale, _held(wait))
    create = make.create(context, index, stale)
    stops = make.stops(context, stale, "its replacement is ready to start")
    deletes = make.deletes(context, stale, "was replaced")
    if context.spec.ensure == "stopped":
        return ReplicaPlan("Creating", "Creating", "is being created", (create, *stops, *deletes))
    if wait := context.needs.start:
        return _keep_previous(context, stale, _held(wait, (create,)))
    start = make.start(context, create.config.id, index, "was created to run", is_restart=False)
    return ReplicaPlan(
        "Creating", "Creating", "is being created", (create, *stops, start, *deletes),
        is_live=any(r.is_live for r in stale), is_replacing=bool(stops),
    )  # fmt: skip


def _held(wait: Wait, actions: tuple[Action, ...] = ()) -> ReplicaPlan:
    phase: Phase = "Stalled" if wait.is_final else "Waiting"
    return ReplicaPlan(
        phase, wait.reason, wait.message, actions, waiting_for=wait.keys, wake_at=wait.until
    )  # fmt: skip


def _plan_stopped(context: Context, current: Replica, stale: tuple[Replica, ...]) -> ReplicaPlan:
    live = (current, *stale)
    waiting = going_dependents(context.desired, context.world) if any(r.is_live for r in live) else None
    if waiting:
        return ReplicaPlan(
            "Pending", "WaitsForDependents", waits_for_text(waiting), waiting_for=waiting, is_live=True
        )
    stops = make.stops(context, live, "is wanted stopped")
    deletes = make.deletes(context, stale, "was replaced")
    if stops:
        return ReplicaPlan("Pending", "Stopping", "is being stopped", (*stops, *deletes))
    return ReplicaPlan("Stopped", "Stopped", "", deletes)


def _plan_down(
    context: Context, current: Replica, stale: tuple[Replica, ...], failure: Failure | None
) -> ReplicaPlan:
    is_new = current.state.phase == "created"
    decision = _decide(context, current)
    if isinstance(decision, policy.StayDown):
        phase: Phase = "Completed" if decision.completed else "Failed"
        actions = make.clear(context, stale)
        return ReplicaPlan(phase, phase, decision.reason, actions)
    if isinstance(decision, policy.GiveUp):
        actions = make.clear(context, stale)
        return ReplicaPlan("Stalled", "RestartLimit", decision.reason + hint(context), actions)
    if failure is not None:
        return _keep_previous(context, stale, failed(failure))
    if wait := context.needs.start:
        held = _held(wait)
        if context.needs.outdated_network and not stale:
            held = replace(held, actions=make.leave_network(context, current))
        return _keep_previous(context, stale, held)
    if decision.at > context.now:
        return ReplicaPlan("Restarting", "BackOff", f"{decision.reason}; waits", wake_at=decision.at)
    stops = make.stops(context, stale, "its replacement is ready to start")
    seen = "was created to run" if is_new else decision.reason
    start = make.start(context, current.id, current.index, seen, is_restart=not is_new)
    phase = "Starting" if is_new else "Restarting"
    return ReplicaPlan(
        phase, phase, "" if is_new else decision.reason,
        (*stops, start, *make.deletes(context, stale, "was replaced")), is_replacing=bool(stops),
    )  # fmt: skip


def _decide(context: Context, current: Replica) -> policy.Decision:
    if current.state.phase == "created":
        return policy.RestartAt(context.now, "is created")
    if _is_restart_asked(context, current):
        return policy.RestartAt(context.now, "a restart was asked for")
    spec, exits = context.spec, exits_of_run(context.memory, current, context.now)
    if spec.asked is not None and spec.asked.is_last_run:
        return policy.decide_restart(NEVER, exits, is_said=True, now=context.now)
    is_said = "restart" in spec.model_fields_set
    return policy.decide_restart(spec.restart, exits, is_said=is_said, now=context.now)


def _plan_live(
    context: Context, current: Replica, stale: tuple[Replica, ...], failure: Failure | None
) -> ReplicaPlan:
    standing = _standing(context, current)
    if stale:
        standing = replace(standing, actions=make.clear(context, stale))
    if current.state.phase == "paused" and not _is_restart_asked(context, current):
        paused = replace(standing, phase="Waiting", reason="Paused", message="is paused")
        return _with_repairs(context, current, paused)
    if failure is not None:
        phase, reason = FAILURE_PHASES[failure.kind]
        return replace(
            standing, reason=reason, message=failure.message, wake_at=failure.retry_at,
            stalled=reason if phase == "Stalled" else "",
        )  # fmt: skip
    if change := _restart_of(context, current):
        return replace(standing, **change)
    if refused := context.needs.refused:  # told, and left alone: it is not started again
        told = f"{refused.message}; {RUNS_ON}"
        standing = replace(standing, reason=refused.reason, message=told, wake_at=refused.until)
    standing = replace(standing, actions=(*standing.actions, *make.update(context, current)))
    return _with_repairs(context, current, standing)


def _with_repairs(context: Context, current: Replica, plan: ReplicaPlan) -> ReplicaPlan:
    repairs, wake_at = make.repairs(context, current)
    plan = replace(plan, actions=(*plan.actions, *repairs)) if repairs else plan
    return plan if wake_at is None else replace(plan, wake_at=earliest(plan.wake_at, wake_at))


def _restart_of(context: Context, current: Replica) -> dict[str, Any]:
    """Fields of a ReplicaPlan that stops or restarts a running container, {} when it is to go on."""
    needs = context.needs
    restarting = {"phase": "Restarting", "reason": "Restarting"}
    if needs.outdated_network and needs.create is None:
        seen = f"network {needs.outdated_network} is made anew"
        stop = make.stop(context, current, seen)
        return {"actions": (stop, *make.leave_network(context, current)), "message": seen, **restarting}
    seen, by = _reason_to_restart(context, current)
    if not seen:
        return {}
    if needs.start is not None:  # what it would wait for when it is down, it waits for while it runs
        return {"message": f"{seen}; {needs.start.message}", "waiting_for": needs.start.keys}
    stop = make.stop(context, current, seen, by=by)
    if by != "us":  # the back-off decides about the start
        return {"actions": (stop,), "message": seen, **restarting}
    start = make.start(context, current.id, current.index, seen, is_restart=True)
    return {"actions": (stop, start), "message": seen, **restarting}


def _reason_to_restart(context: Context, current: Replica) -> tuple[str, ExitCause]:
    if _is_restart_asked(context, current):
        return "a restart was asked for", "us"
    if name := _replaced_dependency(context, current):
        return f"{name} was replaced, and depends_on says restart", "us"
    if current.id in context.actual.broken and not _flaps(context, current):
        return f"only a restart repairs it: {context.actual.broken[current.id]}", "drift"
    health = health_of(context.memory, current)
    wants_restart = context.spec.on_unhealthy == "restart" and context.check is not None
    is_unhealthy = health is not None and health.status == "unhealthy"
    if wants_restart and is_unhealthy and not _flaps(context, current):
        return f"is unhealthy after {health.failures if health else 0} failed probes", "unhealthy"
    return "", "us"


def _flaps(context: Context, current: Replica) -> str:
    exits = exits_of_run(context.memory, current, context.now)
    return policy.may_restart_unhealthy(context.spec.restart, exits, context.now)


def _is_restart_asked(context: Context, replica: Replica) -> bool:
    marks = context.memory.restart_marks
    return replica.id in marks and marks[replica.id] == replica.state.started_at


def _replaced_dependency(context: Context, current: Replica) -> str:
    for key, dependency in context.desired.depends_on:
        before = context.memory.dependency_runs.get(f"{key.name}#{current.index}")
        if dependency.restart and before and before != make.runs_of(key, context.world):
            return str(key)
    return ""


# --- how a running one stands -------------------------------------------------------------------


def _standing(context: Context, current: Replica) -> ReplicaPlan:
    if context.check is None:
        return ReplicaPlan("Running", "Running", is_live=True)
    health = health_of(context.memory, current)
    if health is None or health.status == "starting":
        message = "waits for the first good probe"
        return ReplicaPlan("Starting", "HealthUnknown", message, is_live=True, is_healthy=False)
    if health.status == "healthy":
        return ReplicaPlan("Running", "Healthy", is_live=True, is_healthy=True)
    lines = health.output.strip().splitlines()
    said = f": {lines[-1]}" if lines else ""
    stalled = "RestartLimit" if context.spec.on_unhealthy == "restart" and _flaps(context, current) else ""
    return ReplicaPlan(
        "Unhealthy", "Unhealthy", f"{health.failures} probes in a row failed{said}", is_live=True,
        is_healthy=False, stalled=stalled,
    )  # fmt: skip


def failed(failure: Failure) -> ReplicaPlan:
    phase, reason = FAILURE_PHASES[failure.kind]
    return ReplicaPlan(phase, reason, failure.message, wake_at=failure.retry_at)


def hint(context: Context) -> str:
    return f"; change the manifest, or `setpoint restart {context.desired.key}`"


def _keep_previous(context: Context, stale: tuple[Replica, ...], held: ReplicaPlan) -> ReplicaPlan:
    """What is wanted cannot be had now: the version before goes on, and is kept going."""
    previous = max(stale, key=_preference, default=None)
    if previous is None or previous.state.phase == "created" or context.spec.ensure == "stopped":
        return held
    if previous.is_live and held.reason == "Unkillable":
        return replace(held, is_live=True)
    if previous.is_live:
        return replace(held, message=f"{held.message}; {GOES_ON}", is_live=True)
    if context.needs.start is not None:
        return held
    decision = _decide(context, previous)
    if not isinstance(decision, policy.RestartAt):
        return held
    if decision.at > context.now:
        return replace(held, wake_at=earliest(held.wake_at, decision.at))
    start = make.start(
        context, previous.id, previous.index, f"{decision.reason}; still wanted", is_restart=True
    )
    return replace(held, actions=(*held.actions, start), message=f"{held.message}; {GOES_ON}")


def _together(context: Context, plans: list[ReplicaPlan], *, is_busy: bool) -> Verdict:
    """The object shows its worst replica, and how many are well."""
    generation = context.desired.generation
    if not plans:
        message = "scaled to 0"
        return Verdict("Stopped", "ScaledToZero", message, generation=generation, is_settled=not is_busy)
    shown = min(plans, key=lambda plan: PHASES[plan.phase].rank)
    message = shown.message
    if len(plans) > 1:
        well = sum(PHASES[plan.phase].is_ready for plan in plans)
        message = f"{well} of {len(plans)} are well" + (f": {message}" if message else "")
    healths = [plan.is_healthy for plan in plans if plan.is_healthy is not None]
    stalled = next((plan.stalled for plan in plans if plan.stalled), "")
    waiting_for = frozenset[Key]().union(*(plan.waiting_for for plan in plans))
    return Verdict(
        shown.phase,
        shown.reason,
        message,
        generation=generation,
        wake_at=min((plan.wake_at for plan in plans if plan.wake_at is not None), default=None),
        waiting_for=waiting_for,
        is_started=all(plan.is_live or plan.phase == "Completed" for plan in plans),
        is_healthy=all(healths) if healths else None,
        is_completed=shown.phase == "Completed",
        is_settled=PHASES[shown.phase].is_ready and not (is_busy or stalled or waiting_for),
        stalled=stalled,
    )


def earliest(one: float | None, other: float) -> float:
    return other if one is None else min(one, other)
