"""What an object says of an image that was found damaged. Pure: nothing is stopped or started for it, since
what runs may never read that file; a person has it repaired. Called by `plan_containers` and `plan_images`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from agent.reconcile.conditions import Verdict
from agent.reconcile.world import World


def with_damage(verdict: Verdict, reference: str, ids: Iterable[str], world: World) -> Verdict:
    """ids: of the images that the object runs or wants; reference: how it calls them."""
    found = next((world.damage[id] for id in ids if id in world.damage), "")
    if not found:
        return verdict
    said = f"its image is damaged: {found} (hint: `setpoint image check --repair {reference}`)"
    return replace(
        verdict, message=f"{verdict.message}; {said}" if verdict.message else said, damaged=said
    )  # fmt: skip
