"""Clients that go away in the middle of a call: all of what they asked for is done, or nothing of it."""

from __future__ import annotations

import contextlib
import json
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.host import Host, remove_containers
from tests.api.http_client import Answer, Http, connected
from tests.api.image_files import remove_new, tags

STEPS = tuple(step / 1000 for step in (0, 1, 2, 4, 7, 11, 16, 22, 30, 45))
SETTLED_SECONDS = 30.0


@pytest.fixture(autouse=True)
def _tidy(host: Host) -> Iterator[None]:
    before = tags(host)
    yield
    remove_containers(host)
    remove_new(host, before)


def until(look: Callable[[], Any], what: str, seconds: float = SETTLED_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not look():
        assert time.monotonic() < end, what
        select.select([], [], [], 0.01)


def broken_off(host: Host, seconds: float, method: str, path: str, body: Any = None) -> None:
    """Sent whole; its client is gone after so long, or as soon as it is answered, but for a load, which is
    answered before it begins."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else b""
    kind = "application/x-tar" if isinstance(body, bytes) else "application/json"
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: docker\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
    )
    with connected(host.direct) as connection:
        connection.sendall(head.encode() + b"\r\n" + data)
        select.select([] if isinstance(body, bytes) else [connection], [], [], seconds)


def volumes(http: Http) -> set[str]:
    return {each["Name"] for each in http("GET", "/volumes").json["Volumes"]}


def shown(http: Http, name: str) -> Any:
    answer = http("GET", f"/containers/{name}/json")
    return answer.json if answer.status == 200 else None


def heard(http: Http, since: int, kind: str, action: str, name: str) -> bool:
    """Whether an event tells of it."""
    query = {"since": since, "until": int(time.time()) + 1, "filters": {"type": [kind], "event": [action]}}
    lines = http("GET", "/events", query=query).body.decode().splitlines()
    return any(name in line for line in lines)


@pytest.mark.parametrize("seconds", STEPS)
def test_a_create(host: Host, name: str, seconds: float) -> None:
    """With what it names; else there is nothing of its own. The same call is possible afterwards."""
    before = volumes(host.http)
    body = {
        "Image": "busybox", "Cmd": ["true"], "Volumes": {"/own": {}},
        "HostConfig": {"Binds": [f"{name}:/data"]},
    }  # fmt: skip
    broken_off(host, seconds, "POST", f"/containers/create?name={name}", body)

    def is_whole() -> bool:
        own, made = volumes(host.http) - before - {name}, shown(host.http, name)
        return (made is None and not own) or (made is not None and len(own) == 1)

    until(is_whole, f"{shown(host.http, name)} {volumes(host.http) - before}")
    again: list[Answer] = []

    def is_possible() -> bool:
        """The first client may be seen to have gone when this call has come: the name is taken, then."""
        again[:] = [host.http("POST", f"/containers/create?name={name}", body)]
        assert again[0].status in (201, 409), again
        return again[0].status == 201 or shown(host.http, name) is not None

    until(is_possible, "the same call")
    # Of what is let go of already, because its client broke off, nothing may be left to remove.
    assert host.http("DELETE", f"/containers/{name}?v=1").status in (
        (204,) if again[0].status == 201 else (204, 404)
    )
    until(lambda: volumes(host.http) - before <= {name}, "its volume goes with it")


@pytest.mark.parametrize("seconds", STEPS[::2])
def test_a_start(host: Host, name: str, seconds: float) -> None:
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"]}
    assert host.http("POST", f"/containers/create?name={name}", body).status == 201
    broken_off(host, seconds, "POST", f"/containers/{name}/start")
    assert host.http("POST", f"/containers/{name}/start").status in (204, 304)
    now = shown(host.http, name)
    assert now["State"]["Running"] and not now["RestartCount"], now


@pytest.mark.parametrize("seconds", STEPS[::2])
def test_a_removal_takes_the_volumes_along(host: Host, name: str, seconds: float) -> None:
    before = volumes(host.http)
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"], "Volumes": {"/own": {}}}
    assert host.http("POST", f"/containers/create?name={name}", body).status == 201
    assert host.http("POST", f"/containers/{name}/start").status == 204
    broken_off(host, seconds, "DELETE", f"/containers/{name}?force=1&v=1")
    assert host.http("DELETE", f"/containers/{name}?force=1&v=1").status in (204, 404)
    until(lambda: shown(host.http, name) is None and volumes(host.http) == before, "its volume goes with it")


@pytest.mark.parametrize("seconds", STEPS[::2])
def test_a_network(host: Host, name: str, seconds: float) -> None:
    broken_off(host, seconds, "POST", "/networks/create", {"Name": name})
    assert host.http("POST", "/networks/create", {"Name": name}).status in (201, 409)
    until(lambda: host.http("GET", f"/networks/{name}").status == 200, "it was asked for")
    broken_off(host, seconds, "DELETE", f"/networks/{name}")
    assert host.http("DELETE", f"/networks/{name}").status in (204, 404)
    assert host.http("GET", f"/networks/{name}").status == 404


@pytest.mark.parametrize("seconds", STEPS[::3])
def test_a_name_that_an_image_got_is_told(host: Host, name: str, seconds: float) -> None:
    """Once: the second time it has it already."""
    since = int(time.time())
    broken_off(host, seconds, "POST", f"/images/busybox/tag?repo={name}")
    assert host.http("POST", f"/images/busybox/tag?repo={name}").status == 201
    assert f"{name}:latest" in tags(host)
    until(lambda: heard(host.http, since, "image", "tag", name), "it is told")


@pytest.mark.parametrize("seconds", [0.03, 0.06])
def test_a_commit_that_has_begun_is_whole_and_told(host: Host, name: str, seconds: float) -> None:
    since = int(time.time())
    body = {"Image": "busybox", "Cmd": ["sleep", "1000"]}
    assert host.http("POST", f"/containers/create?name={name}", body).status == 201
    assert host.http("POST", f"/containers/{name}/start").status == 204

    def has_begun() -> bool:
        """What is broken off before the agent has had the processor does not begin at all."""
        broken_off(host, seconds, "POST", f"/commit?container={name}&repo={name}", {})
        with contextlib.suppress(AssertionError):
            until(lambda: f"{name}:latest" in tags(host), "it was asked for", 2.0)
            return True
        return False

    until(has_begun, "one begins")
    until(lambda: heard(host.http, since, "container", "commit", name), "it is told")
    until(lambda: shown(host.http, name)["State"]["Status"] == "running", "it does not stand still")


def test_what_was_sent_whole_is_loaded_and_told(host: Host, busybox_archive: Path) -> None:
    since = int(time.time())
    broken_off(host, 0.3, "POST", "/images/load", busybox_archive.read_bytes())
    until(lambda: heard(host.http, since, "image", "load", "sha256:"), "it is told")
