"""Planning images that a manifest wants kept here. Pure.

One that is not here is pulled; one that is here is well. What goes is decided by the garbage collection
alone, which keeps what is wanted: here only the entry is forgotten. Called by `plan`.
"""

from __future__ import annotations

from agent.manifest.spec import ImageSpec
from agent.reconcile.actions import Cause, KeyPlan, PullImage
from agent.reconcile.conditions import Phase, Verdict
from agent.reconcile.damage import with_damage
from agent.reconcile.removal import blocking_failure, gone, token_of
from agent.reconcile.world import Desired, World


def plan_image(desired: Desired, spec: ImageSpec, world: World, now: float) -> KeyPlan:
    if spec.image in world.images:
        ready = Verdict("Ready", "Ready", "", generation=desired.generation, is_started=True, is_settled=True)
        verdict = with_damage(ready, spec.image, (world.images[spec.image].id,), world)
        return KeyPlan(desired.key, (), verdict)
    if spec.pull_policy == "never":
        hint = f"`setpoint image pull {spec.image}`, or load FILE"
        return _waits(desired, "ImageMissing", f"image {spec.image} is not in the store: {hint}")
    failure = blocking_failure(world.memory_of(desired.key), 0, token_of(desired, None), now)
    if failure is not None:
        return _waits(desired, "PullFailed", failure.message, failure.retry_at)
    pull = world.pulls.get(spec.image)
    if pull is not None and pull.is_running:
        return _waits(desired, "Pulling", f"image {spec.image} is being pulled")
    if pull is not None and not pull.is_due(desired.key.project, now):
        return _waits(desired, "PullFailed", pull.message, pull.retry_at)
    seen = "is not here" if pull is None else f"is not here after {pull.count} tries"
    cause = Cause(seen, desired.file, desired.line, desired.revision)
    plan = _waits(desired, "Pulling", f"image {spec.image} is being pulled", phase="Creating")
    return KeyPlan(desired.key, (PullImage(desired.key, cause, spec.image),), plan.verdict)


def plan_image_removal(desired: Desired) -> KeyPlan:
    """Wanted no more, or wanted absent."""
    return gone(desired, "it goes when nothing needs it" if desired.deleting else "")


def _waits(
    desired: Desired, reason: str, message: str, wake_at: float | None = None, phase: Phase = "Waiting"
) -> KeyPlan:
    return KeyPlan(
        desired.key, (), Verdict(phase, reason, message, generation=desired.generation, wake_at=wake_at)
    )
