"""When a registry is asked whether it has another image under the same name by now. Pure.

    always, if_newer        at each new version of the object's spec, before anything is made of it
    daily, weekly, every_…  when that long has passed since it was asked last, and at first

Not at each pass, and not when a container is started again: who crashes would ask and ask. An image that
is here is used when its registry does not answer; that is said, and it is asked again later. Called by
`needs` and `plan_containers`; `watching` notes what became of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.manifest.pull_policy import period_seconds
from agent.manifest.spec import ContainerSpec
from agent.reconcile.conditions import Verdict
from agent.reconcile.memory import Refreshed
from agent.reconcile.world import Desired, World
from runtime.images.reference import is_digest


@dataclass(frozen=True, slots=True)
class Asking:
    """is_first: nothing is made of the image before. is_due: now; else at wake_at, when there is a time.
    seen: why, in words. failed: why it could not be asked the last time, or ""."""

    is_first: bool
    is_due: bool
    seen: str
    wake_at: float | None = None
    failed: str = ""


NEVER = Asking(False, False, "")


def is_refreshed(spec: ContainerSpec) -> bool:
    """Its registry is asked at all. What is named by a digest never changes."""
    if spec.pull_policy not in ("always", "if_newer") and period_seconds(spec.pull_policy) <= 0:
        return False
    return not ("@" in spec.image or is_digest(spec.image) or spec.build is not None)


def find_asking(desired: Desired, spec: ContainerSpec, world: World, now: float) -> Asking:
    """For an image that is here; one that is missing is fetched anyway."""
    if not is_refreshed(spec) or spec.image not in world.images:
        return NEVER
    last = world.memory_of(desired.key).refreshed
    pull = world.pulls.get(spec.image)
    period = period_seconds(spec.pull_policy)
    if last is None or last.reference != spec.image or (not period and last.generation != desired.generation):
        return Asking(True, pull is None or not pull.is_running, f"pull_policy is {spec.pull_policy}")
    if pull is not None and pull.is_running:
        return Asking(False, False, "", None, last.failed)
    if last.failed:  # without a pull that failed the agent is a new one, or somebody fetched it by hand
        retry_at = now if pull is None or pull.retry_at is None else pull.retry_at
        return Asking(False, now >= retry_at, "its registry could not be asked", retry_at, last.failed)
    if not period:
        return Asking(False, False, "", None, last.failed)
    due_at = last.at + period
    seen = f"pull_policy is {spec.pull_policy}, and its registry was asked {now - last.at:.0f} s ago"
    return Asking(False, now >= due_at, seen, due_at, last.failed)


def after_pull(
    last: Refreshed | None, desired: Desired, reference: str, failed: str, now: float
) -> Refreshed:
    """What to remember of a fetch that ended. A failure does not move the time of the last answer."""
    at = last.at if failed and last is not None and last.reference == reference else now
    return Refreshed(reference, desired.generation, at, failed)


def with_asking(verdict: Verdict, asking: Asking) -> Verdict:
    """How the object stands, with what is known of its image's registry."""
    if asking.wake_at is not None and not asking.is_due:
        at = asking.wake_at if verdict.wake_at is None else min(verdict.wake_at, asking.wake_at)
        verdict = replace(verdict, wake_at=at)
    if asking.is_first:
        return replace(verdict, is_settled=False)
    if asking.failed and verdict.phase in ("Running", "Starting", "Completed"):
        said = f"runs the image that is here: {asking.failed}"
        return replace(verdict, message=f"{verdict.message}; {said}" if verdict.message else said)
    return verdict
