"""The wall clock is set, by years and by seconds, while the agent runs and while it does not: what is
decided by time goes on as if nobody had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.manifest.spec import ContainerSpec, Healthcheck, NetworkSpec, Restart
from runtime.errors import Temporary
from runtime.model import ExecResult
from tests.sim.host import Host

WEB, NET = "shop/container/web", "shop/network/default"
YEAR = 365 * 86400.0
JUMPS = (-10 * YEAR, -3600.0, -30.0, 30.0, 3600.0, 10 * YEAR)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    assert host.observer.bugs == [] and host.engine.violations == []
    host.close()


def up(host: Host, **fields: object) -> None:
    spec = ContainerSpec.model_validate({"image": "busybox:latest", **fields})
    host.submit({NET: NetworkSpec(), WEB: spec})
    host.settle(20)


def refuse_starts(op: str, subject: str) -> Exception | None:
    return Temporary("start", subject, "no") if op == "start" else None


def starts(host: Host) -> int:
    return sum(op == "start" for op, _ in host.engine.calls)


def crash_loop(host: Host, seconds: float, jump: float) -> int:
    """How often it is started in that time, when it ends at once each time and the clock jumps about."""
    up(host, restart=Restart(policy="always", max_attempts=1000))
    before = starts(host)
    end = host.clock.now() + seconds
    while host.clock.now() < end:
        for id in host.running().values():
            host.set_clock(jump)
            host.engine.exit(id, 1)
            host.set_clock(-jump / 2)
        host.run(0.05)
    return starts(host) - before


@pytest.mark.parametrize("jump", JUMPS)
def test_the_back_off_is_the_same(jump: float) -> None:
    counts = []
    for each in (0.0, jump):
        host = Host()
        counts.append(crash_loop(host, 120, each))
        assert host.observer.bugs == []
        host.close()
    assert counts[0] == counts[1] <= 12


@pytest.mark.parametrize("jump", JUMPS)
def test_a_new_run_is_probed_and_found_unhealthy_in_time(host: Host, jump: float) -> None:
    host.set_clock(jump)  # its start is stamped years from what the agent's clock says
    up(host, healthcheck=Healthcheck(test=("CMD", "true"), interval=1.0, retries=3))
    assert host.phases()[WEB] == "Running"
    host.engine.exec_result = lambda id, argv: ExecResult(1, b"no")
    host.run(10)
    assert host.phases()[WEB] == "Unhealthy"


@pytest.mark.parametrize("jump", JUMPS)
def test_an_agent_that_starts_after_it_waits_for_no_time_that_is_years_away(host: Host, jump: float) -> None:
    host.set_clock(-min(jump, 0.0))  # written down in what will then be the future
    host.crash()
    host.boot()
    host.engine.fault = refuse_starts
    up(host, restart=Restart(policy="always", max_attempts=1000))
    host.run(100)
    host.do(host.loop.flush())
    host.crash()
    host.set_clock(jump)
    host.boot()
    host.engine.fault = lambda op, subject: None
    host.run(61)
    assert host.phases()[WEB] == "Running"


def test_a_long_stop_of_the_agent_alone_kills_nobody(host: Host) -> None:
    """SIGSTOP: time goes by, nothing is done, and then all timers are late at once."""
    up(host, healthcheck=Healthcheck(test=("CMD", "true"), interval=1.0, retries=3), scale=3)
    before = host.running()
    host.clock.error += 600  # the boot-time clock goes on while the agent does not run
    host.engine.seen_by_another_clock(600)
    host.run(10)
    assert host.running() == before and host.phases()[WEB] == "Running"


@pytest.mark.parametrize("jump", JUMPS)
def test_the_start_period_is_neither_cut_nor_stretched(host: Host, jump: float) -> None:
    host.engine.exec_result = lambda id, argv: ExecResult(1, b"no")
    host.set_clock(jump)
    check = Healthcheck(test=("CMD", "true"), interval=1.0, retries=1, start_period=22.0)
    up(host, healthcheck=check)
    assert host.phases()[WEB] == "Starting"
    host.run(5)
    assert host.phases()[WEB] == "Unhealthy"
