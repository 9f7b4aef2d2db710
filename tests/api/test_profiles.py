"""Seccomp profiles that clients sent: kept as long as somebody names them, and no longer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.seccomp_cache import MOST_SPARE
from tests.api.http_client import Http
from tests.e2e.own_story import own_story
from tests.e2e.story import Story

ALLOWED = {"defaultAction": "SCMP_ACT_ALLOW"}


@pytest.fixture(scope="module")
def own(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with own_story(tmp_path_factory.mktemp("profiles")) as story:
        story.commit({"other/compose.yaml": "services: {}\n"})
        story.git("config", "user.name", "Ann")
        story.git("config", "user.email", "ann@example.org")
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        yield story


def profile(number: int) -> str:
    """Each is another; a mkdir is answered with that number."""
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": number}
    return json.dumps({**ALLOWED, "syscalls": [rule]})


def made(http: Http, number: int) -> str:
    body: dict[str, Any] = {
        "Image": "busybox", "Cmd": ["sleep", "1000"],
        "HostConfig": {"NetworkMode": "none", "SecurityOpt": [f"seccomp={profile(number)}"]},
    }  # fmt: skip
    answer = http("POST", "/containers/create", body)
    assert answer.status == 201, answer.message
    return str(answer.json["Id"])


def removed(http: Http, *ids: str) -> None:
    for id in ids:
        assert http("DELETE", f"/containers/{id}", query={"force": "1"}).status == 204


def kept(own: Story) -> set[int]:
    """Of the profiles that lie there, their numbers."""
    files = (own.layout.data / "seccomp").glob("*.json")
    return {json.loads(file.read_text())["syscalls"][0]["errnoRet"] for file in files}


def test_a_profile_goes_when_no_container_has_it(own: Story) -> None:
    http = Http(own.layout.agent_socket)
    one, same, other = made(http, 1), made(http, 1), made(http, 2)
    removed(http, one)
    removed(http, made(http, 3))
    assert kept(own) == {1, 2, 3}
    assert http("POST", f"/containers/{same}/start").status == 204
    last = made(http, 4)
    assert kept(own) == {1, 2, 4}
    removed(http, same, other, last)


def test_what_an_agent_was_killed_over_goes_at_the_next_start(own: Story) -> None:
    """In the middle of a write, and between the file and the container that it was for."""
    http = Http(own.layout.agent_socket)
    id = made(http, 5)
    directory = own.layout.data / "seccomp"
    (directory / f"{'a' * 64}.json").write_text(profile(6))
    (directory / f".{'b' * 64}.json.1.part").write_text("half")
    own.kill(own.agent_pid())
    own.start_agent()
    assert kept(own) == {5}
    assert not list(directory.glob(".*"))
    assert http("POST", f"/containers/{id}/start").status == 204
    removed(http, id)


def test_what_a_manifest_names_is_held_whether_it_is_there_or_not(own: Story) -> None:
    """Somebody takes the manifest away, and brings it back."""
    http = Http(own.layout.agent_socket)
    id = made(http, 7)
    name = http("GET", f"/containers/{id}/json").json["Name"].removeprefix("/")
    own.setpoint("adopt", name, "--to", own.tree / "held.compose.yaml", "--commit")
    own.apply({"held.compose.yaml": None})
    removed(http, made(http, 8), made(http, 9))
    assert 7 in kept(own)
    own.git("revert", "--no-edit", "HEAD")
    own.setpoint("sync", "--wait")
    own.setpoint("wait", "--for", "ready", "--timeout", "30s")
    own.apply({"held.compose.yaml": None})


def test_what_is_compiled_is_bounded_and_what_runs_keeps_its_own(own: Story) -> None:
    http = Http(own.layout.agent_socket)
    runs = made(http, 10)
    assert http("POST", f"/containers/{runs}/start").status == 204
    for number in range(20, 20 + MOST_SPARE + 10):
        removed(http, made(http, number))
    assert len(list((own.layout.data / "seccomp").glob("*.bpf"))) < MOST_SPARE
    docker = {"AttachStdout": True, "AttachStderr": True, "Cmd": ["mkdir", "/x"]}
    exec = http("POST", f"/containers/{runs}/exec", docker).json["Id"]
    http("POST", f"/exec/{exec}/start", {})
    assert http("GET", f"/exec/{exec}/json").json["ExitCode"] == 1  # the filter is there, and holds
    assert http("POST", f"/containers/{runs}/restart", query={"t": "0"}).status == 204
    removed(http, runs)
