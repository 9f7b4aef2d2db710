"""A container that cannot be killed, as a person meets it: in status, beside others, and at its end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hung import HungFileSystem
from tests.kernel.daemon.conftest import AgentProcess, until

STUCK = """\
services:
  reader:
    image: busybox:latest
    command: [sh, -c, 'cat /hung/never; echo {word}']
    stop_grace_period: 0s
    volumes: ["{place}:/hung"]
"""
KEY = "stuck/container/reader"


@pytest.fixture
def hung(tmp_path: Path) -> Iterator[HungFileSystem]:
    made = HungFileSystem(tmp_path / "hung")
    yield made
    made.close()


def shown(agent: AgentProcess, key: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = [o for o in agent.client.status()["objects"] if o["key"] == key]
    return found[0] if found else {}


def running(agent: AgentProcess) -> int:
    return sum(c["phase"] == "running" for c in shown(agent, KEY)["containers"])


def is_stalled(agent: AgentProcess) -> bool:
    return any(
        (each["type"], each["reason"]) == ("Stalled", "Unkillable")
        for each in shown(agent, KEY)["conditions"]
    )


def test_it_is_stalled_alone_and_replaced_when_it_dies(
    hung: HungFileSystem, ready: AgentProcess, tmp_path: Path
) -> None:
    file = ready.manifests / "stuck" / "compose.yaml"
    file.parent.mkdir()
    file.write_text(STUCK.format(place=hung.place, word="one"))
    until(lambda: shown(ready, KEY) and running(ready) == 1)
    (old,) = (c["id"] for c in shown(ready, KEY)["containers"])
    file.write_text(STUCK.format(place=hung.place, word="two"))
    until(lambda: is_stalled(ready))
    status = shown(ready, KEY)
    assert status["phase"] == "Stalled"
    assert "is in state" in status["message"] and "pid " in status["message"]
    assert running(ready) == 1, "a second one was started beside it"

    compose = ready.manifests / "shop" / "compose.yaml"
    compose.write_text(compose.read_text().replace("scale: 2", "scale: 3"))
    until(lambda: len(shown(ready, "shop/container/web")["containers"]) == 3)
    until(lambda: shown(ready, "shop/container/web")["phase"] == "Running")

    hung.abort()
    until(lambda: [c["id"] for c in shown(ready, KEY)["containers"] if c["id"] != old])
    until(lambda: old not in [c["id"] for c in shown(ready, KEY)["containers"]])
    assert not is_stalled(ready)
