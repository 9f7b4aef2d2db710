"""A short soak: some kills of the agent and the supervisor under churn, and nothing is off. `ops/soak` is the
long one."""

from __future__ import annotations

from pathlib import Path

import pytest

from runtime.layout import Layout
from tests.e2e.story import PROGRAM
from tests.soak.__main__ import soak
from tests.soak.soak import Plan


@pytest.mark.slow
def test_kills_under_churn_leave_nothing_off(instance: Layout, tmp_path: Path) -> None:
    if not PROGRAM.exists():
        pytest.skip(f"there is no {PROGRAM}: ops/up or ops/test makes it")
    outcome = soak(instance, tmp_path, Plan(kills=12, checkpoint_kills=12, seed=5))
    assert outcome.off == []
    assert outcome.agent_kills >= 12 and outcome.checkpoints == 1
    assert {each.name for each in outcome.gauges} >= {"agent KiB", "nft elements", "links", "rows objects"}
