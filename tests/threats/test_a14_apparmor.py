"""A14: a label that cannot be set, and a container that runs without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kernel.runtime.conftest import Box
from tests.threats.attack import attempt


@pytest.mark.parametrize("profile", ["setpoint-none-such", "unconfined\nexec other", "../x"])
def test_a14_a_profile_that_is_not_there_stops_the_start(box: Box, profile: str) -> None:
    box.config["process"]["apparmorProfile"] = profile
    found = attempt(box, "true")
    assert found.status == 125, found
    if not Path("/sys/module/apparmor/parameters/enabled").exists():
        assert "no AppArmor" in found.error
