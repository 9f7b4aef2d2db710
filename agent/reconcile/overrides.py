"""A manifest's object in somebody's own hands for a while: left alone until then, then put right. Pure.

    until then: nothing is done, and status says so
    after:      what is paused goes on, and then it is planned as ever

What ran before it and does not run after it is started again (`account.after_override`). Called by `plan`.
"""

from __future__ import annotations

from datetime import UTC, datetime

from agent.manifest.spec import ContainerSpec
from agent.reconcile.actions import Cause, KeyPlan, ResumeContainer
from agent.reconcile.conditions import Verdict
from agent.reconcile.memory import Override
from agent.reconcile.removal import blocking_failure, token_of
from agent.reconcile.world import Desired, World

DAY_SECONDS = 86400.0
AGAIN_SECONDS = 1.0


def plan_overridden(desired: Desired, override: Override, world: World, now: float) -> KeyPlan:
    actual = world.actual_of(desired.key)
    verdict = Verdict(
        "Suspended",
        "Overridden",
        f"overridden until {clock(override.until, now)} by {override.how}",
        generation=desired.generation,
        wake_at=max(override.until, now + AGAIN_SECONDS),
        is_started=actual.is_live or desired.key.kind != "container",
        is_settled=True,
    )
    if now < override.until:
        return KeyPlan(desired.key, (), verdict)
    cause = Cause("the override is over", desired.file, desired.line, desired.revision)
    paused = tuple(
        ResumeContainer(desired.key, cause, replica.id, index=replica.index)
        for replica in actual.replicas
        if replica.state.phase == "paused" and not _has_failed(desired, replica.index, world, now)
    )
    return KeyPlan(desired.key, paused, verdict)


def _has_failed(desired: Desired, index: int, world: World, now: float) -> bool:
    """To let it go on did not go well, and is tried again later."""
    image = world.images.get(desired.spec.image) if isinstance(desired.spec, ContainerSpec) else None
    failure = blocking_failure(world.memory_of(desired.key), index, token_of(desired, image), now)
    return failure is not None


def clock(at: float, now: float) -> str:
    """14:05 UTC, with the day where that is not within the next one."""
    moment = datetime.fromtimestamp(at, UTC)
    return moment.strftime("%H:%M UTC" if at - now < DAY_SECONDS else "%Y-%m-%d %H:%M UTC")
