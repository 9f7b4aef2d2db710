"""The walk over what the Docker API changes of a container that runs: its name, and its networks. A kill at
each point, the call made again, and all of it is so; the container itself knows of nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.layout import Layout
from tests.api.http_client import Http
from tests.faults.instance import Instance, until
from tests.faults.stories import STILL, Story
from tests.faults.walk import is_for_both, walk
from tests.faults.world import World

pytestmark = pytest.mark.slow

Names = tuple[str, frozenset[str]]  # of the container, and of its networks
BEFORE: Names = ("box", frozenset({"one"}))
AFTER: Names = ("other", frozenset({"two"}))
BOX = {"Image": "busybox", "Cmd": ["sleep", "100000"], "HostConfig": {"NetworkMode": "one"}}


@pytest.fixture
def world(instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[World]:
    made = World(instance, tmp_path, busybox_archive)
    yield made
    made.close()


class Box:
    """The container, by its id, whatever it is called."""

    def __init__(self) -> None:
        self.id = ""
        self.pid = 0

    def back(self, instance: Instance) -> None:
        """As it was: made, the first time, and anew with another instance."""
        instance.write({"still": STILL})
        instance.settle()
        http = Http(instance.layout.agent_socket)
        if not self.id or http("GET", f"/containers/{self.id}/json").status == 404:
            for network in ("one", "two"):
                assert http("POST", "/networks/create", {"Name": network}).status == 201
            self.id = http("POST", "/containers/create", BOX, query={"name": "box"}).json["Id"]
            assert http("POST", f"/containers/{self.id}/start").status == 204
        self.be(http, BEFORE)
        self.pid = self.shown(http)["State"]["Pid"]

    def forth(self, instance: Instance) -> threading.Thread:
        def run() -> None:
            deaths = instance.deaths
            try:
                until(instance.answers, "an agent, after a kill another one")
                self.be(Http(instance.layout.agent_socket), AFTER)
            except (OSError, ValueError, AssertionError) as error:
                if instance.deaths == deaths:
                    instance.complaints.append(f"the call was answered with {error!r}")

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def be(self, http: Http, wanted: Names) -> None:
        """Each call may have been made before, and may be repeated."""
        name, networks = wanted
        self.ask(http, f"/containers/{self.id}/rename?name={name}", lambda: self.name(http) == name)
        for network in networks - self.networks(http):
            self.ask(http, f"/networks/{network}/connect", lambda it=network: it in self.networks(http))
        for network in self.networks(http) - networks:
            self.ask(
                http, f"/networks/{network}/disconnect", lambda it=network: it not in self.networks(http)
            )

    def ask(self, http: Http, path: str, is_so: Callable[[], bool]) -> None:
        """What is so already is refused, as by Docker's daemon, and an agent that was just started may be as
        quick with what was asked of the one before."""
        if is_so():
            return
        answer = http("POST", path, {"Container": self.id})
        assert answer.status in (200, 204) or is_so(), f"{path}: {answer.status} {answer.body!r}"

    def name(self, http: Http) -> str:
        return str(self.shown(http)["Name"]).removeprefix("/")

    def shown(self, http: Http) -> Any:
        return http("GET", f"/containers/{self.id}/json").json

    def networks(self, http: Http) -> set[str]:
        return set(self.shown(http)["NetworkSettings"]["Networks"])

    def faults(self, instance: Instance) -> Iterator[str]:
        """What the checker cannot know: what it is called, where it is, and that it is the same."""
        http = Http(instance.layout.agent_socket)
        shown = self.shown(http)
        networks = shown["NetworkSettings"]["Networks"]
        if (shown["Name"], frozenset(networks)) != (f"/{AFTER[0]}", AFTER[1]):
            yield f"it is {shown['Name']} on {sorted(networks)}"
        if not all(each["IPAddress"] for each in networks.values()):
            yield f"no address: {json.dumps(networks)}"
        if shown["State"]["Pid"] != self.pid:
            yield f"touched: process {self.pid} -> {shown['State']}"
        sandbox = json.loads(
            (instance.layout.run / "sandboxes" / f"{shown['NetworkSettings']['SandboxID']}.json").read_text()
        )
        if sandbox["names"] != [AFTER[0]] or {each["network"] for each in sandbox["endpoints"]} != AFTER[1]:
            yield f"its namespace has {sandbox}"


def test_a_kill_at_any_point_of_a_rename_and_of_a_move_between_networks(world: World) -> None:
    box = Box()
    story = Story("api-networks", box.back, box.forth, "")
    world.begin()
    seen = world.record(story)
    walk(world, story, seen, set(), both=is_for_both, faults=lambda: list(box.faults(world._here)))
