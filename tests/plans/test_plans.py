"""Each scenario prints the plan it says it prints. The files double as documentation: see README.md."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from agent.reconcile.plan import plan
from tests.plans import scenario


@pytest.mark.parametrize("path", scenario.files(), ids=lambda path: path.stem)
def test_plan(path: Path) -> None:
    case = scenario.read(path)
    assert scenario.printed(case) == case.expected
    found = scenario.verdicts(case)
    assert {key: found[key] for key in case.verdicts} == case.verdicts


@pytest.mark.parametrize("path", scenario.files(), ids=lambda path: path.stem)
def test_same_inputs_print_the_same_plan(path: Path) -> None:
    """Whatever order the mappings are in."""
    case = scenario.read(path)
    backwards = replace(case.world, desired=dict(reversed(case.world.desired.items())))
    assert str(plan(backwards, case.now)) == str(plan(case.world, case.now))


def test_there_are_enough_of_them() -> None:
    assert len(scenario.files()) >= 40
