"""A disk with all that is known of containers is lost; what the kernel still has of them goes, too."""

from __future__ import annotations

import shutil
from pathlib import Path

from runtime.layout import Layout
from tests.api.http_client import Http
from tests.e2e.story import Story, eventually, is_alive

COMPOSE = """
services:
  web: {image: busybox, command: [sleep, "1000"], stop_signal: SIGKILL, ensure: stopped}
"""
RUNS = COMPOSE.replace("ensure: stopped", "ensure: running")


def namespaces(layout: Layout) -> list[Path]:
    return list(layout.netns.iterdir())


def test_network_namespaces_of_containers_that_are_lost_go(story: Story) -> None:
    """A manifest's, and one of the Docker API's: without them nobody could remove their networks."""
    story.apply({"shop/compose.yaml": RUNS})
    http = Http(story.layout.agent_socket)
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "bridge"}}
    id = http("POST", "/containers/create", body).json["Id"]
    assert http("POST", f"/containers/{id}/start").status == 204
    assert http("POST", f"/containers/{id}/stop", query={"t": "0"}).status == 204
    story.apply({"shop/compose.yaml": COMPOSE})
    assert len(namespaces(story.layout)) == 2
    agent = story.agent_pid()
    story.kill(agent)
    eventually(lambda: not is_alive(agent), "the agent is gone")
    for each in story.layout.containers.iterdir():
        shutil.rmtree(each)
    for each in story.layout.data.glob("setpoint.db*"):
        each.unlink()
    story.commit({"shop/compose.yaml": None})
    story.start_agent()
    eventually(lambda: not namespaces(story.layout), "no namespace is left")
    eventually(lambda: story.status()["objects"] == [], "and no object")
    assert "nothing is lost" in story.setpoint("doctor", "--leaks")
