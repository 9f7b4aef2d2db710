"""Images that their registry is asked for again: how often, when it is away, over a crash of the agent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.manifest.spec import NetworkSpec
from runtime.errors import SetpointError, Temporary
from runtime.model import ImageInfo
from tests.sim.fake_engine import BUSYBOX
from tests.sim.host import Host
from tests.sim.test_stories import NET, WEB, _call, host, service

__all__ = ["host"]
NAME = "nginx:1"
OLD = replace(BUSYBOX, id="sha256:old", names=(NAME,))
NEW = replace(BUSYBOX, id="sha256:new", names=(NAME,))
AWAY = Temporary("ask registry", "r.example", "connection refused", "", retry_after_seconds=30)


def want(host: Host, policy: str, **more: object) -> None:
    host.submit({NET: NetworkSpec(), WEB: service(image=NAME, pull_policy=policy, **more)})
    host.run(1)


def asked(host: Host) -> int:
    return len([call for call in host.engine.calls if call[0] == "pull"])


def ends(host: Host, image: ImageInfo | SetpointError) -> None:
    host.do(_call(host.engine.pulled, NAME, image))
    host.settle(5)


@pytest.mark.parametrize("policy", ["always", "if_newer"])
def test_once_for_each_version_and_not_for_its_restarts(host: Host, policy: str) -> None:
    host.engine.images[NAME] = OLD
    want(host, policy)
    assert asked(host) == 1 and not host.running(), "nothing is made of what may be old"
    ends(host, OLD)
    assert host.status(WEB).phase == "Running"
    first = host.running()

    host.run(10)
    host.crash()
    host.boot()
    host.run(700)
    assert asked(host) == 1, "neither a pass nor a new agent asks again"

    want(host, policy, environment={"A": "b"})
    assert asked(host) == 2 and host.running() == first, "what runs goes on until it is known"
    ends(host, NEW)
    assert host.status(WEB).phase == "Running" and host.running() != first
    host.run(700)
    assert asked(host) == 2 and host.loop.is_ready()


def test_what_is_here_runs_without_its_registry_until_that_comes_back(host: Host) -> None:
    host.engine.images[NAME] = OLD
    want(host, "always")
    ends(host, AWAY)
    first = host.running()
    assert first and host.loop.is_ready()
    assert "runs the image that is here: " in host.status(WEB).message
    host.run(25)
    assert asked(host) == 1
    host.run(20)
    assert asked(host) == 2
    ends(host, NEW)
    assert host.running() != first and "runs the image" not in host.status(WEB).message


def test_after_a_time(host: Host) -> None:
    host.engine.images[NAME] = OLD
    want(host, "every_1h")
    ends(host, OLD)
    first = host.running()
    host.run(3500)
    assert asked(host) == 1
    host.run(200)
    assert asked(host) == 2 and host.running() == first and host.loop.is_ready()
    ends(host, NEW)
    assert host.running() != first
    want(host, "every_1h", environment={"A": "b"})
    host.settle(5)
    assert asked(host) == 2, "a new version is no reason: the hour is"
    host.run(3700)
    assert asked(host) == 3


def test_a_registry_that_is_away_for_long_is_asked_seldom(host: Host) -> None:
    host.engine.images[NAME] = OLD
    want(host, "daily")
    for _ in range(6):
        host.do(_call(host.engine.pulled, NAME, AWAY))
        host.run(400)
    assert 2 <= asked(host) <= 12
    assert host.status(WEB).phase == "Running"
