"""GET /events by real clients: live, from history, filtered; of things that are gone; by many, of whom
some do not read."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import aiodocker
import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.story import Story, eventually


def history(host: Host, since: float, **filters: Any) -> list[dict[str, Any]]:
    """All since then, as they are told to who asks for a window that is over."""
    query = {"since": f"{since:.6f}", "until": f"{time.time():.6f}", "filters": filters}
    answer = host.http("GET", "/events", query=query)
    assert answer.status == 200
    return [json.loads(line) for line in answer.body.splitlines()]


def actions(found: list[dict[str, Any]], type: str = "container") -> list[str]:
    return [event["Action"] for event in found if event["Type"] == type]


def test_a_containers_life_is_told_as_by_dockerd(either: Host, name: str) -> None:
    """On the network `none`, which both have."""
    since = time.time()
    options = ("--name", name, "-l", "tier=front", "--network", "none")
    either.docker("create", *options, "busybox", "sh", "-c", "exit 3")
    either.docker("start", name)
    assert either.docker("wait", name).stdout == "3\n"
    either.docker("rm", name)
    found = history(either, since, type=["container"])
    assert actions(found) == ["create", "start", "die", "destroy"]
    for event in found:
        attributes = event["Actor"]["Attributes"]
        assert (attributes["name"], attributes["image"], attributes["tier"]) == (name, "busybox", "front")
        assert len(event["Actor"]["ID"]) == 64
        assert event["timeNano"] // 10**9 == event["time"]
    assert found[2]["Actor"]["Attributes"]["exitCode"] == "3"


def test_stop_kill_and_rename_are_told(either: Host, name: str) -> None:
    either.docker("run", "-d", "--init", "--name", name, "--network", "none", "busybox", "sleep", "1000")
    since = time.time()
    either.docker("rename", name, f"{name}b")
    either.docker("stop", f"{name}b")

    def told() -> dict[str, dict[str, str]]:
        """dockerd may tell of the end after the stop, and later than it answers."""
        found = history(either, since, container=[f"{name}b"])
        return {event["Action"]: event["Actor"]["Attributes"] for event in found}

    eventually(lambda: sorted(told()) == ["die", "kill", "rename", "stop"], "all is told")
    assert told()["rename"]["oldName"] == f"/{name}"
    assert told()["kill"]["signal"] == "15"


def test_networks_and_volumes_are_told(either: Host, name: str) -> None:
    since = time.time()
    network = either.docker("network", "create", name).stdout.strip()
    either.docker("volume", "create", name)
    either.docker("volume", "rm", name)
    either.docker("network", "rm", name)
    networks = history(either, since, network=[name], type=["network"])
    assert [(event["Action"], event["Actor"]["ID"]) for event in networks] == [
        ("create", network), ("destroy", network),
    ]  # fmt: skip
    volumes = history(either, since, volume=[name], type=["volume"])
    assert actions(volumes, "volume") == ["create", "destroy"]
    assert volumes[0]["Actor"] == {"ID": name, "Attributes": {"driver": "local"}}


def test_the_cli_follows_and_filters(host: Host, name: str) -> None:
    command = ["docker", "events", "--filter", "event=die", "--filter", "label=a=b", "--format", "{{json .}}"]
    follower = subprocess.Popen(command, env=host.environment, stdout=subprocess.PIPE, text=True)
    try:
        eventually(lambda: host.http("GET", "/info").json["NEventsListener"], "the follower is there")
        host.docker("run", "--rm", "busybox", "true")
        host.docker("run", "--rm", "--name", name, "-l", "a=b", "busybox", "sh", "-c", "exit 7", check=False)
        assert follower.stdout is not None
        told = json.loads(follower.stdout.readline())
    finally:
        follower.kill()
        follower.communicate()
    assert told["Actor"]["Attributes"]["name"] == name
    assert (told["status"], told["Actor"]["Attributes"]["exitCode"]) == ("die", "7")
    eventually(lambda: host.http("GET", "/info").json["NEventsListener"] == 0, "the follower is gone")


def test_docker_py_reads_history_of_what_is_gone(client: Any, name: str) -> None:
    since = time.time()
    client.containers.run("busybox", "true", name=name, remove=True, labels={"a": "b"})
    filters = {"label": "a=b", "event": ["create", "destroy"]}
    found = list(client.events(since=since, until=time.time() + 0.5, filters=filters, decode=True))
    assert actions(found) == ["create", "destroy"]


async def test_aiodocker_is_told(host: Host, name: str) -> None:
    async with aiodocker.Docker(url=f"unix://{host.socket}") as docker:
        events: Any = docker.events
        told = events.subscribe()
        while not (await docker.system.info())["NEventsListener"]:  # it follows from a task of its own
            await asyncio.sleep(0.01)
        container = await docker.containers.create({"Image": "busybox", "Cmd": ["true"]}, name=name)
        while True:
            event = await told.get()
            assert event is not None
            if event["Actor"]["Attributes"].get("name") == name:
                break
        assert event["Action"] == "create"
        await container.delete()


def test_what_a_manifest_made_is_told_with_its_project(host: Host, agent_story: Story, name: str) -> None:
    since = time.time()
    service = f"services: {{{name}: {{image: busybox, command: sleep 1000, init: true, network_mode: none}}}}"
    agent_story.apply({"told/compose.yaml": service})
    agent_story.apply({"told/compose.yaml": None})
    eventually(lambda: "destroy" in actions(history(host, since)), "it is gone")
    label = f"com.docker.compose.service={name}"
    found = history(host, since, label=[label, "com.docker.compose.project=told"])
    assert actions(found) == ["create", "start", "kill", "die", "stop", "destroy"]


def test_a_manifests_stop_by_the_signal_that_kills_is_a_stop(
    host: Host, agent_story: Story, name: str
) -> None:
    since = time.time()
    service = "{image: busybox, command: sleep 1000, stop_signal: SIGKILL, network_mode: none}"
    agent_story.apply({"told/compose.yaml": f"services: {{{name}: {service}}}"})
    agent_story.apply({"told/compose.yaml": None})
    eventually(lambda: "destroy" in actions(history(host, since)), "it is gone")
    found = history(host, since, label=[f"com.docker.compose.service={name}"])
    assert actions(found) == ["create", "start", "kill", "die", "stop", "destroy"]
    assert found[2]["Actor"]["Attributes"]["signal"] == "9"


STOPPED = ["die", "kill", "stop"]


@pytest.mark.parametrize(
    ("words", "signal", "told"),
    [
        (("stop", "-t", "5"), "9", STOPPED),  # by its own signal
        (("stop", "-t", "5", "-s", "INT"), "2", STOPPED),
        (("kill",), "9", ["die", "kill"]),
        (("rm", "-f"), "9", ["destroy", "die", "kill"]),
    ],
)
def test_by_which_signal_it_was_stopped_is_told(
    either: Host, name: str, words: tuple[str, ...], signal: str, told: list[str]
) -> None:
    made = ("--stop-signal", "KILL", "--network", "none", "--name", name)
    either.docker("run", "-d", "--init", *made, "busybox", "sleep", "1000")
    since = time.time()
    either.docker(*words, name)

    def found() -> list[dict[str, Any]]:
        return history(either, since, container=[name])

    eventually(lambda: len(found()) >= len(told), "all is told")
    assert sorted(actions(found())) == told
    kills = [each["Actor"]["Attributes"]["signal"] for each in found() if each["Action"] == "kill"]
    assert kills == [signal]


def test_a_stop_that_takes_too_long_is_two_kills(either: Host, name: str) -> None:
    stubborn = "trap '' TERM; echo ready; while :; do sleep 0.1; done"
    either.docker("run", "-d", "--network", "none", "--name", name, "busybox", "sh", "-c", stubborn)
    eventually(lambda: "ready" in either.docker("logs", name).stdout, "its trap is set")
    since = time.time()
    either.docker("stop", "-t", "1", name)

    def found() -> list[dict[str, Any]]:
        return history(either, since, container=[name])

    eventually(lambda: len(actions(found())) >= 4, "all is told")
    assert sorted(actions(found())) == ["die", "kill", "kill", "stop"]
    kills = [each["Actor"]["Attributes"]["signal"] for each in found() if each["Action"] == "kill"]
    assert kills == ["15", "9"]


def test_the_signal_of_an_image_is_told(either: Host, name: str) -> None:
    either.docker("create", "--name", name, "--network", "none", "busybox", "true")
    either.docker("commit", "-c", "STOPSIGNAL SIGINT", name, f"{name}:1")
    either.docker(
        "run", "-d", "--init", "--name", f"{name}b", "--network", "none", f"{name}:1", "sleep", "99"
    )
    since = time.time()
    either.docker("stop", "-t", "5", f"{name}b")
    eventually(lambda: "stop" in actions(history(either, since, container=[f"{name}b"])), "it is told")
    [kill] = [each for each in history(either, since, container=[f"{name}b"]) if each["Action"] == "kill"]
    assert kill["Actor"]["Attributes"]["signal"] == "2"
    either.docker("rm", f"{name}b", name)
    either.docker("rmi", f"{name}:1")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"since": "20", "until": "10"}, "`since` time (20) cannot be after `until` time (10)"),
        ({"since": "yesterday"}, "neither Unix seconds"),
        ({"filters": {"colour": ["red"]}}, "invalid filter 'colour'"),
        ({"filters": "nonsense"}, "invalid filter"),
    ],
)
def test_what_makes_no_sense_is_refused(http: Http, query: dict[str, Any], words: str) -> None:
    answer = http("GET", "/events", query=query)
    assert answer.status == 400
    assert words in answer.message


def test_sequences_are_for_who_asks_for_them(http: Http, docker: Any, name: str) -> None:
    since = time.time()
    docker("volume", "create", name)
    query = {"since": since, "until": time.time() + 0.2}
    answer = http("GET", "/v1.52/events", query=query, headers={"Accept": "application/json-seq"})
    assert answer.headers["content-type"] == "application/json-seq"
    assert answer.body.startswith(b"\x1e{") and "status" not in json.loads(answer.body[1:])
    plain = http("GET", "/v1.52/events", query=query)
    assert plain.headers["content-type"] == "application/x-ndjson"


def test_who_does_not_read_slows_nobody_and_misses_nothing(host: Host, name: str) -> None:
    """Volumes come and go until far more was told than connections hold."""
    lazy, answer = host.http.stream("GET", "/events", query={"filters": {"type": ["volume"]}})
    quick = [host.http.stream("GET", "/events") for _ in range(20)]
    try:
        label = "x" * 20_000
        body = {"Name": name, "Labels": {"a": label}}
        for _ in range(40):
            assert host.http("POST", "/volumes/create", body).status == 201
            assert host.http("DELETE", f"/volumes/{name}").status == 204
        for _, each in quick:
            assert json.loads(each.readline())["Action"] == "create"
        told = [json.loads(answer.readline()) for _ in range(80)]
        assert actions(told, "volume") == ["create", "destroy"] * 40
    finally:
        for connection in (lazy, *(connection for connection, _ in quick)):
            connection.close()
    eventually(lambda: host.http("GET", "/info").json["NEventsListener"] == 0, "all have gone")


def test_what_is_done_past_the_loop_is_told_too(either: Host, name: str) -> None:
    either.docker("run", "-d", "--init", "--name", name, "--network", "none", "busybox", "sleep", "1000")
    since = time.time()
    either.docker("pause", name)
    either.docker("unpause", name)
    either.docker("kill", "-s", "WINCH", name)
    either.docker("exec", name, "sh", "-c", "exit 4", check=False)

    def told() -> list[dict[str, Any]]:
        return history(either, since, container=[name])

    wanted = ["pause", "unpause", "kill", "exec_create: sh -c exit 4", "exec_start: sh -c exit 4", "exec_die"]
    eventually(lambda: len(told()) >= len(wanted), "all is told")
    assert actions(told()) == wanted
    assert told()[2]["Actor"]["Attributes"]["signal"] == "28"
    assert told()[-1]["Actor"]["Attributes"]["exitCode"] == "4"
    assert actions(history(either, since, event=["exec_start"], container=[name])) == [wanted[4]]


def test_files_that_go_in_and_out_are_told(either: Host, name: str, tmp_path: Path) -> None:
    either.docker("create", "--name", name, "--network", "none", "busybox", "sleep", "1000")
    (tmp_path / "file").write_text("x")
    since = time.time()
    either.docker("cp", tmp_path / "file", f"{name}:/tmp")
    either.docker("cp", f"{name}:/tmp/file", tmp_path / "out")
    either.docker("cp", f"{name}:/nothing", tmp_path, check=False)
    either.docker("cp", tmp_path / "file", f"{name}:/nothing/", check=False)
    either.docker("export", "-o", tmp_path / "tar", name)
    either.docker("start", name)
    either.docker("top", name)
    told = [each for each in actions(history(either, since, container=[name])) if each != "connect"]
    assert told == ["extract-to-dir", "archive-path", "export", "start", "top"]


def test_a_commit_is_told_and_is_in_the_images_history(either: Host, name: str) -> None:
    words = ("--entrypoint", "sleep", "--network", "none", "--name", name, "busybox", "1000")
    either.docker("run", "-d", *words)
    since = time.time()
    either.docker("commit", "-m", "why", name, f"{name}:1")
    found = history(either, since, container=[name])
    assert actions(found) == ["pause", "commit", "unpause"]
    [told] = [each["Actor"]["Attributes"] for each in found if each["Action"] == "commit"]
    assert (told["imageRef"], told["comment"]) == (f"{name}:1", "why")
    top = either.http("GET", f"/images/{name}:1/history").json[0]
    assert (top["CreatedBy"], top["Comment"]) == ("1000", "why")
    either.docker("commit", "--pause=false", name)
    assert actions(history(either, since, container=[name])) == ["pause", "commit", "unpause", "commit"]
    either.docker("rm", "-f", name)
    either.docker("rmi", f"{name}:1")
    either.docker("image", "prune", "-f")


def test_a_kill_and_a_restart_are_told_once(either: Host, name: str) -> None:
    either.docker("run", "-d", "--init", "--name", name, "--network", "none", "busybox", "sleep", "1000")
    since = time.time()
    either.docker("restart", name)
    either.docker("kill", name)

    def told() -> list[str]:
        return sorted(actions(history(either, since, container=[name])))

    eventually(lambda: len(told()) >= 7, "all is told")
    assert told() == ["die", "die", "kill", "kill", "restart", "start", "stop"]
