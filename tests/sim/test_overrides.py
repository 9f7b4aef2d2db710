"""A manifest's container in somebody's own hands for a while, and then as its manifest says again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agent.manifest.hashing import hashes
from agent.manifest.objects import Object, Where
from agent.manifest.spec import ContainerSpec, Restart
from agent.reconcile.loop import Loop
from runtime.errors import Conflict
from store.records import Key
from tests.sim.host import SETTINGS, Host

WEB = "shop/container/web"
KEY = Key.parse(WEB)


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    assert host.observer.bugs == []
    assert host.engine.violations == []
    host.close()


def up(host: Host, **fields: object) -> str:
    spec = ContainerSpec.model_validate({"image": "busybox:latest", "network_mode": "none", **fields})
    host.submit({WEB: spec})
    host.settle()
    return host.running()["shop-web-1"]


def phase(host: Host, id: str) -> str:
    state = host.engine.state(id)
    assert state is not None
    return state.phase


def test_what_is_stopped_stays_so_and_runs_again_when_the_time_is_over(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 3600, "API: stop"))
    host.do(host.engine.stop(id, 0))
    host.run(3500)
    assert phase(host, id) == "stopped"
    status = host.status(WEB)
    assert status.phase == "Suspended" and status.conditions[0].reason == "Overridden"
    assert status.message.startswith("overridden until ") and status.message.endswith(" UTC by API: stop")
    assert host.plan() == ""
    host.run(200)
    assert phase(host, id) == "running" and host.status(WEB).message == ""
    host.do(host.loop.flush())
    assert [e.reason for e in host.store.events(KEY)][-2:] == ["OverrideEnded", "Started"]


@pytest.mark.parametrize("restart", [{}, {"restart": Restart()}, {"restart": Restart(policy="on-failure")}])
def test_whatever_its_restart_policy_says(host: Host, restart: dict[str, Restart]) -> None:
    id = up(host, **restart)
    host.do(host.loop.override(KEY, 60, "API: stop"))
    host.do(host.engine.stop(id, 0))
    host.run(61)
    assert phase(host, id) == "running"


def test_it_outlives_the_agent_and_ends_while_there_is_none(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 3600, "API: stop"))
    host.do(host.engine.stop(id, 0))
    host.crash()
    host.boot()
    host.run(60)
    assert phase(host, id) == "stopped" and host.status(WEB).message.endswith("by API: stop")
    host.crash()
    host.run(7200)
    host.boot()
    host.run(1)
    assert phase(host, id) == "running"


def test_the_next_agent_shows_what_is_there_and_not_what_was_stored_before_a_kill(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 3600, "API: stop"))
    host.do(host.loop.flush())
    host.do(host.engine.stop(id, 0))
    host.crash()
    loop = Loop(host.engine, host.store, instance="sim", clock=host.clock, settings=SETTINGS)
    host.do(loop.start())
    assert loop.statuses()[KEY].containers[0]["phase"] == "stopped", "before anything is planned"
    host.do(loop.flush())
    assert host.store.load()[1][KEY].containers[0]["phase"] == "stopped"


def test_what_is_paused_goes_on(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 60, "API: pause"))
    host.do(host.engine.pause(id))
    host.loop.look_at(id)
    host.run(30)
    assert phase(host, id) == "paused"
    host.run(40)
    assert phase(host, id) == "running" and host.status(WEB).phase == "Running"


def test_a_failing_resume_is_tried_again_and_not_at_once(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 60, "API: pause"))
    host.do(host.engine.pause(id))
    host.engine.fault = lambda op, subject: Conflict("resume", id, "not now") if op == "resume" else None
    host.run(70)
    tries = [op for op, _ in host.engine.calls].count("resume")
    assert 1 < tries < 15
    host.engine.fault = lambda op, subject: None
    host.run(60)
    assert phase(host, id) == "running"


def test_it_can_be_ended_sooner(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 3600, "API: stop"))
    host.do(host.engine.stop(id, 0))
    host.do(host.loop.resume(KEY))
    host.run(1)
    assert phase(host, id) == "running"


def test_a_second_wish_is_the_one_that_counts(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 60, "API: stop"))
    host.do(host.engine.stop(id, 0))
    host.run(50)
    host.do(host.loop.override(KEY, 600, "API: kill"))
    host.run(100)
    assert phase(host, id) == "stopped"
    host.run(600)
    assert phase(host, id) == "running", "it ran before the first of them"


def test_a_job_that_was_done_is_not_done_again(host: Host) -> None:
    host.submit({WEB: ContainerSpec(image="busybox:latest", network_mode="none", restart=Restart())})
    host.run(1)
    id = host.running()["shop-web-1"]
    host.engine.exit(id, 0)
    host.settle()
    assert host.status(WEB).phase == "Completed"
    host.do(host.loop.override(KEY, 60, "API: start"))
    host.do(host.engine.start(id))
    host.engine.exit(id, 0)
    host.run(120)
    assert phase(host, id) == "stopped" and host.status(WEB).phase == "Completed"


def test_what_is_wanted_stopped_is_stopped_afterwards(host: Host) -> None:
    host.submit({WEB: ContainerSpec(image="busybox:latest", network_mode="none", ensure="stopped")})
    host.settle()
    (state,) = host.engine.list()
    host.do(host.loop.override(KEY, 60, "API: start"))
    host.do(host.engine.start(state.id))
    host.run(30)
    assert phase(host, state.id) == "running"
    host.run(60)
    assert phase(host, state.id) == "stopped"


def test_a_commit_waits_until_it_is_over(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 60, "API: stop"))
    host.submit({})
    host.run(30)
    assert host.engine.state(id) is not None
    host.run(60)
    assert host.engine.list() == ()


def test_only_a_manifests_object_is_overridden(host: Host) -> None:
    key = Key("@api", "container", "0123456789ab")
    spec = ContainerSpec(image="busybox:latest", network_mode="none", container_name="a")
    host.do(host.loop.put(Object(key, spec, Where("", 0), *hashes(spec))))
    with pytest.raises(Conflict, match="no manifest owns it"):
        host.do(host.loop.override(key, 60, "API: stop"))


def test_a_clock_that_was_set_back_makes_it_no_longer_than_it_was_to_be(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 60, "API: stop"))
    host.do(host.engine.stop(id, 0))
    host.do(host.loop.flush())
    host.crash()
    host.set_clock(-3600 * 24 * 365)
    host.boot()
    host.run(65)
    assert phase(host, id) == "running"


def test_what_was_paused_when_the_database_was_lost_stays_so_until_a_restart_is_asked_for(host: Host) -> None:
    id = up(host)
    host.do(host.loop.override(KEY, 3600, "API: pause"))
    host.do(host.engine.pause(id))
    host.loop.look_at(id)
    host.crash()
    host.lose_database()
    host.boot()
    up_again = ContainerSpec.model_validate({"image": "busybox:latest", "network_mode": "none"})
    host.submit({WEB: up_again})
    host.run(5)
    assert phase(host, id) == "paused" and host.status(WEB).message == "is paused"
    host.do(host.loop.restart(KEY))
    host.settle()
    assert phase(host, id) == "running" and host.status(WEB).phase == "Running"
