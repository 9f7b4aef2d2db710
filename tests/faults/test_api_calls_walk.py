"""The walk over the calls of the Docker API: the agent is killed at each of its points, a client that got no
answer asks again, and all is as asked for, once, and nothing else was touched.

What the supervisor and its children do is walked by `test_walk`. SETPOINT_WALK as there.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agent.checker import Snapshot
from runtime.layout import Layout
from tests import bad_registry
from tests.api.http_client import Http
from tests.faults.api_calls import CALLS, Call, Client
from tests.faults.api_transfers import TRANSFERS
from tests.faults.instance import Instance, until
from tests.faults.points import Point
from tests.faults.stories import STILL, Story
from tests.faults.walk import settled, walk
from tests.faults.world import World

pytestmark = pytest.mark.slow

VISITED: set[str] = set()
REGISTRIES = "apiVersion: setpoint/v1\nkind: Registries\nregistries:\n"
NOT_ANSWERED = (OSError, ValueError, http.client.HTTPException)


class ApiWorld(World):
    """Volumes without a name have another name each time; a container that is made anew is another one."""

    clock = 0  # the process of the container that nobody names
    registry = ""

    def begin(self) -> None:
        super().begin()
        settings = self._here.manifests.with_name("registries.yaml")
        settings.write_text(f'{REGISTRIES}  "{self.registry}": {{insecure: true}}\n')

    def _other_parts(self) -> Iterator[str]:
        """What is named by the call is looked at by its own `faults`."""
        yield from ()

    def check(self, story: Story, before: Snapshot) -> None:
        """What becomes of the container that the call names is looked at by its own `faults`."""
        others = {name: each for name, each in before.containers.items() if name != "box"}
        super().check(story, replace(before, containers=others))

    def _ended(self, story: Story, before: object) -> Iterator[str]:
        now = self._here.containers("still")["clock"]
        if now["restarts"] or now["pid"] != self.clock:
            yield f"touched clock: {self.clock} -> {now}"


@pytest.fixture
def world(instance: Layout, tmp_path: Path, busybox_archive: Path) -> Iterator[ApiWorld]:
    made = ApiWorld(instance, tmp_path, busybox_archive)
    with bad_registry.started() as registry:
        registry.put_image("lab/app", "1")
        made.registry = registry.host
        yield made
        made.close()


class Asked:
    """A call as a story of the walk's."""

    def __init__(self, call: Call, world: ApiWorld) -> None:
        self._call = call
        self._world = world
        self._pid = 0

    def back(self, instance: Instance) -> None:
        instance.write({"still": STILL})
        instance.settle()
        client = self._client(instance)
        self._call.back(client)
        self._pid = _pid(client)
        self._world.clock = instance.containers("still")["clock"]["pid"]

    def forth(self, instance: Instance) -> threading.Thread:
        thread = threading.Thread(target=self._ask, args=(instance,))
        thread.start()
        return thread

    def _ask(self, instance: Instance) -> None:
        deaths = instance.deaths
        try:
            until(instance.answers, "an agent, after a kill another one")
            self._call.ask(self._client(instance))
        except (*NOT_ANSWERED, AssertionError) as error:
            if instance.deaths == deaths:
                instance.complaints.append(f"the call was answered with {error!r}")

    def faults(self, instance: Instance) -> list[str]:
        client = self._client(instance)
        found = list(self._call.faults(client))
        if self._call.keeps and (pid := _pid(client)) != self._pid:
            found.append(f"touched: process {self._pid} -> {pid}")
        return found

    def _client(self, instance: Instance) -> Client:
        return Client(Http(instance.layout.agent_socket), self._world.registry)


def _pid(client: Client) -> int:
    box = client.box()
    return int(box["State"]["Pid"]) if box is not None else 0


@pytest.mark.parametrize("call", (*CALLS, *TRANSFERS), ids=lambda call: call.name)
def test_a_kill_at_any_point_of_a_call(world: ApiWorld, call: Call) -> None:
    asked = Asked(call, world)
    story = Story(f"api-{call.name}", asked.back, asked.forth, "")
    world.begin()
    seen = world.record(story)

    def faults() -> list[str]:
        return asked.faults(world._here)

    assert not (found := settled(faults)), found
    walk(
        world, story, seen, VISITED,
        both=lambda _number: False, is_ours=_is_agents, faults=faults, one_missed_in=3,
    )  # fmt: skip


def _is_agents(point: Point) -> bool:
    return point.role in ("agent", "images") and ":inspect:" not in point.name
