"""When a registry is asked for the signatures of an image that is here: a rule that asks for them may be
younger than the image. Pure.

Once for each version of the image and of the rules; again only when it could not be asked, with the back-off
of a failed pull. What runs goes on meanwhile. Called by `needs` and `plan_containers`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from agent.manifest.spec import ContainerSpec
from agent.reconcile.world import SignatureAsking, World
from runtime.images.facts import ImageFacts


@dataclass(frozen=True, slots=True)
class Asked:
    """is_due: it is time to ask. is_under_way: for the first time, and the answer may let it run. failed: why
    there was none, to be asked again at retry_at."""

    is_due: bool = False
    is_under_way: bool = False
    failed: str = ""
    retry_at: float | None = None


ANSWERED = Asked()
NEVER_ASKED = SignatureAsking(frozenset())


def find_asked(
    project: str, spec: ContainerSpec, known: Iterable[ImageFacts], world: World, now: float
) -> Asked:
    """For an image that is refused for want of a signature."""
    if spec.build is not None or spec.pull_policy == "never":  # nobody has it, or nobody is to be asked
        return ANSWERED
    before = world.signatures.get(spec.image)
    if before is None or before.digests != digests_of(known):  # what was said of another image says nothing
        return Asked(is_due=True, is_under_way=True)
    pull = before.pull
    if pull is None:
        return ANSWERED
    if pull.is_running:
        return Asked(is_under_way=not pull.message, failed=pull.message)
    return Asked(pull.is_due(project, now), False, pull.message, pull.retry_at)


def digests_of(known: Iterable[ImageFacts]) -> frozenset[str]:
    return frozenset(digest for facts in known for digest in facts.digests)
