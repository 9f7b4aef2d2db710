"""What the tests of calls that break off share."""

from __future__ import annotations

import pytest

from tests.sim.api_host import ApiHost, End, threads_take_turns


@pytest.fixture
def threads_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    threads_take_turns(monkeypatch)


@pytest.fixture(params=[ApiHost.break_off, ApiHost.die_over], ids=["client", "agent"])
def end(request: pytest.FixtureRequest) -> End:
    """Who goes in the middle of the call."""
    found: End = request.param
    return found
