"""Whatever a client made becomes a manifest's just as it is: nothing is to be done then, the process is the
same, and clients are told the same of it. Containers as Hypothesis makes them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, note, settings

from agent.manifest.parse_values import to_size
from tests.api.container_bodies import bodies
from tests.api.http_client import Http
from tests.e2e.own_story import own_story
from tests.e2e.story import Story, eventually

NETWORKS = ("net-a", "net.b")
COMPOSE = "com.docker.compose."
NUMBERS = itertools.count()
# How it was asked for; what came of it is in other fields.
WORDS = ("Mounts", "Binds", "Tmpfs", "PublishAllPorts", "NetworkMode")
CHECK = {"Interval": 30, "Timeout": 30, "StartInterval": 5, "StartPeriod": 0, "Retries": 3e-9}
NO_EFFECT = {"label=disable", "systempaths=unconfined"}  # what the latter does is in other fields
EXAMPLES = int(os.environ.get("SETPOINT_EXAMPLES", "20"))


@pytest.fixture(scope="module")
def own(busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    with own_story(tmp_path_factory.mktemp("adoption")) as story:
        story.commit({"other/compose.yaml": "services: {}\n"})
        story.git("config", "user.name", "Ann")
        story.git("config", "user.email", "ann@example.org")
        story.start_agent()
        story.setpoint("image", "load", busybox_archive)
        http = Http(story.layout.agent_socket)
        for name in NETWORKS:
            assert http("POST", "/networks/create", {"Name": name}).status == 201
        assert http("POST", "/volumes/create", {"Name": "sub"}).status == 201
        (story.layout.data / "volumes/sub/_data/a/b").mkdir(parents=True)
        yield story


def made(http: Http, body: dict[str, Any], name: str) -> str:
    """The id of one that runs, "" for what is refused."""
    answer = http("POST", "/containers/create", body, query={"name": name})
    if answer.status != 201:
        return ""
    id = str(answer.json["Id"])
    is_up = http("POST", f"/containers/{id}/start").status == 204
    if not is_up or not http("GET", f"/containers/{id}/json").json["State"]["Running"]:
        http("DELETE", f"/containers/{id}", query={"force": "1", "v": "1"})
        return ""
    return id


def said(http: Http, id: str) -> dict[str, Any]:
    """What clients are told, but for whose it is and for the form in which it was asked for."""
    view: dict[str, Any] = http("GET", f"/containers/{id}/json").json
    config, host = view["Config"], view["HostConfig"]
    view["State"].pop("Health", None)
    config["Labels"] = {name: text for name, text in config["Labels"].items() if not name.startswith(COMPOSE)}
    config.pop("Volumes", None)
    config["Healthcheck"] = _check(config.get("Healthcheck") or {})
    for name in WORDS:
        host.pop(name, None)
    for name in ("CapAdd", "CapDrop"):
        host[name] = [each.upper().removeprefix("CAP_") for each in host[name] or ()]
    host["SecurityOpt"] = sorted(
        {each.removesuffix(":true") for each in host["SecurityOpt"] or ()} - NO_EFFECT
    )
    host["IpcMode"] = host["IpcMode"].replace("shareable", "private")
    host["LogConfig"]["Type"] = host["LogConfig"]["Type"].replace("local", "json-file")
    config.setdefault("StopTimeout", 10)
    host["RestartPolicy"].pop("MaximumRetryCount")  # a manifest's have an end, which adopt tells
    host["PortBindings"] = {
        name: each for name, each in (host["PortBindings"] or {}).items() if _is_asked(each)
    }
    for bindings in (host["PortBindings"] or {}).values():
        for binding in bindings:
            binding.setdefault("HostPort", "")
    if "max-size" in (log := host["LogConfig"]["Config"]):
        log["max-size"] = str(to_size(log["max-size"]))
    view["Mounts"] = sorted(view["Mounts"], key=lambda mount: str(mount["Destination"]))
    return view


def _is_asked(bindings: list[dict[str, str]]) -> bool:
    """Not those that the engine chose for all that the image exposes."""
    return any(each.get("HostIp") or each.get("HostPort") for each in bindings)


def changes(before: Any, after: Any, place: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two values differ, and how."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from changes(before.get(name), after.get(name), f"{place}.{name}")
    elif before != after:
        yield place, before, after


def _check(asked: dict[str, Any]) -> dict[str, Any]:
    if asked.get("Test", ["NONE"])[0] == "NONE":
        return {}
    return {"Test": asked["Test"]} | {
        name: asked.get(name) or round(seconds * 10**9) for name, seconds in CHECK.items()
    }


@settings(
    # A second for each, and the same ones in each run: SETPOINT_EXAMPLES is for who looks for more.
    max_examples=EXAMPLES, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much,
    ],
)  # fmt: skip
@given(body=bodies())
def test_whatever_was_asked_for_is_adopted_as_it_is(own: Story, body: dict[str, Any]) -> None:
    http, number = Http(own.layout.agent_socket), next(NUMBERS)
    name = f"c{number}.x-y_z"
    id = made(http, body, name)
    assume(id)
    before = said(http, id)
    path = f"ad/{number}.compose.yaml"
    own.setpoint("adopt", name, "--to", own.tree / path, "--commit")
    note((own.tree / path).read_text())
    after = said(http, id)
    assert list(changes(before, after)) == []
    assert own.setpoint("plan").startswith("nothing to do")
    key = next(each["key"] for each in own.status()["objects"] if each["file"] == path)
    assert key == f"ad/container/{name}"
    assert http("DELETE", f"/containers/{id}", query={"force": "1"}).status == 409


def test_what_is_shown_with_each_line_of_a_log_is_adopted(own: Story) -> None:
    """The options of a log are part of the manifest: by it the same is shown, and nothing is made anew."""
    http = Http(own.layout.agent_socket)
    options = {"labels": "tier,team", "env": "TZ", "tag": "{{.Name}}/{{.ID}}", "max-file": "2"}
    body = {
        "Image": "busybox", "Cmd": ["sh", "-c", "echo hi; sleep 1000"], "Labels": {"tier": "front"},
        "Env": ["TZ=UTC"], "HostConfig": {"LogConfig": {"Type": "json-file", "Config": options}},
    }  # fmt: skip
    id = made(http, body, "told")
    query = {"stdout": "1", "details": "1"}
    shown = f"TZ=UTC,tag=told%2F{id[:12]},tier=front hi\n".encode()
    eventually(lambda: http("GET", f"/containers/{id}/logs", query=query).body[8:] == shown, "it is shown")
    own.setpoint("adopt", "told", "--to", own.tree / "log/compose.yaml", "--commit")
    assert own.setpoint("plan").startswith("nothing to do")
    view = http("GET", f"/containers/{id}/json").json
    assert view["State"]["Running"]
    config = view["HostConfig"]["LogConfig"]["Config"]
    assert {name: config[name] for name in options} == options
    assert http("GET", f"/containers/{id}/logs", query=query).body[8:] == shown


def test_two_files_of_a_project_share_what_they_use(own: Story) -> None:
    """A network or a volume that one of them declares is the other's, too."""
    http = Http(own.layout.agent_socket)
    body: dict[str, Any] = {"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}
    body["HostConfig"] = {"NetworkMode": "net.b", "Binds": ["shared:/data"]}
    body["Volumes"] = {"/kept": {}}  # one that its file calls otherwise than the host does
    ids = [made(http, body, f"share-{number}") for number in range(2)]
    before = [said(http, id) for id in ids]
    for number in range(2):
        to = own.tree / f"share/{number}.compose.yaml"
        own.setpoint("adopt", f"share-{number}", "--to", to, "--commit")
    assert list(changes(before, [said(http, id) for id in ids])) == []
    assert "networks:\n  net.b:" in (own.tree / "share/0.compose.yaml").read_text()
    second = (own.tree / "share/1.compose.yaml").read_text()
    assert "networks:\n  net.b:" not in second and "  shared:\n" not in second
    found = http("GET", f"/containers/{ids[1]}/json").json
    shared, kept = sorted(found["Mounts"], key=lambda mount: str(mount["Destination"]))
    assert (shared["Name"], len(kept["Name"])) == ("shared", 64)
    assert shared["Source"] == str(own.layout.data / "volumes/shared/_data")
    assert found["HostConfig"]["Binds"] == [f"{kept['Name']}:/kept:rw", "shared:/data:rw"]


def test_a_domain_that_has_no_effect_is_no_reason_to_lose_it(own: Story) -> None:
    """What a manifest has no word for stays as it was, and that is said."""
    http = Http(own.layout.agent_socket)
    body = {
        "Image": "busybox",
        "Cmd": ["sleep", "1000"],
        "StopSignal": "SIGKILL",
        "Domainname": "example.org",
    }
    id = made(http, body | {"HostConfig": {"UTSMode": "host"}}, "of-the-host")
    own.setpoint("adopt", "of-the-host", "--to", own.tree / "ad/of-the-host.compose.yaml", code=1)
    assert "domainname has no effect with uts host" in own.said
    assert not (own.tree / "ad/of-the-host.compose.yaml").exists()
    assert http("DELETE", f"/containers/{id}", query={"force": "1"}).status == 204


def test_a_name_of_one_s_own_is_none_of_the_host_s(own: Story) -> None:
    http = Http(own.layout.agent_socket)
    body = {"Image": "busybox", "Hostname": "h", "HostConfig": {"UTSMode": "host"}}
    answer = http("POST", "/containers/create", body)
    assert (answer.status, answer.message) == (400, "conflicting options: hostname and the UTS mode")


def test_those_that_are_written_at_once_share_what_they_use(own: Story) -> None:
    """None of them is read yet when the next one is written: each network is declared once all the same."""
    http = Http(own.layout.agent_socket)
    body: dict[str, Any] = {"Image": "busybox", "Cmd": ["sleep", "1000"], "StopSignal": "SIGKILL"}
    body["Labels"] = {"com.docker.compose.project": "together"}
    body["HostConfig"] = {"NetworkMode": "net.b", "Binds": ["both:/data"]}
    ids = [made(http, body, f"together-{number}") for number in range(3)]
    before = [said(http, id) for id in ids]
    names = [f"together-{number}" for number in range(3)]
    own.setpoint("adopt", *names, "--to", own.tree, "--commit")
    assert list(changes(before, [said(http, id) for id in ids])) == []
    texts = [path.read_text() for path in (own.tree / "together").iterdir()]
    for words in ("networks:\n  net.b:\n    external", "volumes:\n  both:\n    external"):
        assert sum(words in text for text in texts) == 1, texts
    assert own.setpoint("plan").startswith("nothing to do")


@pytest.mark.parametrize("word", ["x", "a/network/b", "a/container/b=b", "../network/b=b", "a/b=b"])
def test_what_is_no_declaration_is_refused(own: Story, word: str) -> None:
    http = Http(own.layout.agent_socket)
    id = made(http, {"Image": "busybox", "Cmd": ["sleep", "9"], "StopSignal": "SIGKILL"}, "declares")
    answer = http("POST", f"/setpoint/v1/adopt/@api/container/{id[:12]}", {"declared": [word]})
    assert answer.status == 400 and "not a declaration" in answer.body.decode()
    http("DELETE", f"/containers/{id}", query={"force": "1"})
