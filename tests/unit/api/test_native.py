"""The native API over its socket, with the real loop and store behind it."""

from __future__ import annotations

import json
import os
import socket
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from agent.client import Client
from agent.wire import AgentDown
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary
from runtime.model import Drift
from runtime.program import Program
from store.records import Key

from .agents import Agent, ApiEngine, Place
from .conftest import COMPOSE


def until(condition: object, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.01)


# --- status ---------------------------------------------------------------------------------------


def test_status_keeps_its_contract(client: Client) -> None:
    status = client.status()
    assert status["ready"] is True
    assert status["agent"] == "running"
    assert status["revision"].startswith("dir-")
    keys = [o["key"] for o in status["objects"]]
    assert keys == [
        "shop/container/db", "shop/container/web", "shop/network/default", "shop/volume/data",
    ]  # fmt: skip
    web = status["objects"][1]
    assert {"phase", "ready", "restarts", "message", "since"} <= web.keys()
    assert (web["phase"], web["desired"], web["file"], web["line"]) == ("Running", 2, "shop/compose.yaml", 2)
    container = web["containers"][0]
    assert len(container["id"]) == 64
    assert container["pid"] > 0
    assert list(container["addresses"]) == ["shop_default"]
    assert {"name", "health", "ports"} <= container.keys()
    assert status["source"]["kind"] == "directory"
    assert status["errors"] == []
    assert status["remembered"] == 0


def test_an_error_in_a_manifest_is_shown_and_nothing_is_ready_nor_removed(agent: Agent, place: Place) -> None:
    place.write("shop/compose.yaml", COMPOSE.replace("command:", "commandd:"))
    client = agent.client
    answer = client.sync(wait=True, timeout_seconds=10)
    assert answer["ready"] is False
    assert "shop/compose.yaml:4" in answer["message"]
    status = client.status()
    assert status["ready"] is False
    assert [(e["file"], e["line"]) for e in status["errors"]] == [("shop/compose.yaml", 4)]
    assert len(agent.engine.running()) == 3
    place.write("shop/compose.yaml", COMPOSE)
    assert client.sync(wait=True, timeout_seconds=10)["ready"] is True


def test_sync_with_wait_returns_when_the_new_state_runs(agent: Agent, place: Place) -> None:
    place.write("shop/compose.yaml", COMPOSE.replace("scale: 2", "scale: 4"))
    answer = agent.client.sync(wait=True, timeout_seconds=10)
    assert answer["ready"] is True
    assert len(agent.engine.running()) == 5
    assert answer["revision"] == agent.client.status()["revision"] == answer["source"]["revision"]


def test_objects_by_kind_and_project(client: Client) -> None:
    assert [o["key"] for o in client.objects(kind="volume")] == ["shop/volume/data"]
    assert client.objects(project="none") == []
    assert len(client.objects()) == 4


# --- one object -----------------------------------------------------------------------------------


def test_describe_by_every_form_of_the_name(client: Client) -> None:
    for name in ("shop/container/web", "shop/web", "web"):
        found = client.describe(name)
        assert found["key"] == "shop/container/web"
    assert found["spec"]["command"] == ["httpd", "-f"]
    until(lambda: len(client.describe("web")["events"]) >= 4)
    reasons = {event["reason"] for event in client.describe("web")["events"]}
    assert {"Created", "Started"} <= reasons


def test_a_name_that_several_have_or_nobody(agent: Agent, place: Place) -> None:
    client = agent.client
    with pytest.raises(NotFound, match="no such object"):
        client.describe("shop/nobody")
    with pytest.raises(Invalid, match="not a key"):
        client.describe("a/b/c/d")
    place.write("other/compose.yaml", "services: {web: {image: 'busybox:latest'}}\n")
    client.sync(wait=True, timeout_seconds=10)
    with pytest.raises(Invalid, match="2 objects have this name: other/container/web, shop/container/web"):
        client.describe("web")


def test_why_tells_the_chain(agent: Agent) -> None:
    client = agent.client
    until(lambda: client.why("db")["commit"] is not None and len(client.why("db")["steps"]) >= 2)
    why = client.why("db")
    assert why["commit"]["id"] == why["revision"]
    assert (why["file"], why["line"]) == ("shop/compose.yaml", 7)
    created = next(step for step in why["steps"] if step["reason"] == "Created")
    assert created["cause"][-2:] == ["shop/compose.yaml:7", "is not there"]
    assert why["result"]["ready"] is True


def test_restart_suspend_resume(agent: Agent) -> None:
    client, engine = agent.client, agent.engine
    before = client.describe("db")["containers"][0]["started_at"]
    assert client.restart("db") == {"key": "shop/container/db"}
    until(lambda: client.describe("db")["containers"][0]["started_at"] not in (before, None))

    client.suspend("shop/db")
    until(lambda: client.describe("db")["phase"] == "Suspended")
    engine_id = client.describe("db")["containers"][0]["id"]
    agent.on_loop(lambda: engine.exit(engine_id))
    until(lambda: client.describe("db")["containers"][0]["phase"] == "stopped")
    client.resume("db")
    assert client.wait("db", timeout_seconds=10)["met"]
    assert len(engine.running()) == 3


# --- plan -----------------------------------------------------------------------------------------


def test_the_plan_of_a_converged_agent_is_empty(client: Client) -> None:
    assert client.plan() == {"actions": [], "errors": []}


def test_a_plan_against_other_files_changes_nothing(agent: Agent) -> None:
    import base64

    changed = COMPOSE.replace("scale: 2", "scale: 1") + "networks: {back: {}}\n"
    files = {"shop/compose.yaml": base64.b64encode(changed.encode()).decode()}
    plan = agent.client.plan(files)
    actions = [(a["action"], a["key"]) for a in plan["actions"]]
    assert ("create", "shop/network/back") in actions
    assert ("stop", "shop/container/web") in actions
    stop = next(a for a in plan["actions"] if a["action"] == "stop")
    assert stop["file"] == "shop/compose.yaml"
    assert stop["cause"]
    assert stop["text"].startswith("stop shop/container/web#2")
    assert len(agent.engine.running()) == 3
    assert agent.client.plan()["actions"] == []


def test_a_plan_against_broken_files_gives_the_errors(client: Client) -> None:
    import base64

    text = base64.b64encode(b"services: [").decode()
    assert client.plan({"x/compose.yaml": text})["errors"][0]["file"] == "x/compose.yaml"
    with pytest.raises(Invalid, match="not base64"):
        client.plan({"x": "%%%"})


# --- events ---------------------------------------------------------------------------------------


def test_events_filtered(client: Client) -> None:
    until(lambda: len(client.events()) >= 8)
    every = client.events()
    assert [e["id"] for e in every] == sorted(e["id"] for e in every)
    assert {e["key"] for e in client.events(key="db")} == {"shop/container/db"}
    assert len(client.events(limit=2)) == 2
    assert client.events(since=time.time() + 100) == []
    assert client.events(after_id=every[-1]["id"]) == []


def test_following_events_misses_none_and_repeats_none(agent: Agent) -> None:
    client = agent.client
    until(lambda: len(client.events()) >= 8)
    seen: list[dict[str, object]] = []
    enough = threading.Event()

    def follow() -> None:
        for event in client.follow_events():
            seen.append(event)
            if sum(e["reason"] == "RestartRequested" for e in seen) == 20:
                enough.set()
                return

    thread = threading.Thread(target=follow)
    thread.start()
    for _ in range(20):
        client.restart("db")
    assert enough.wait(20)
    thread.join()
    ids = [int(str(event["id"])) for event in seen]
    assert ids == list(range(ids[0], ids[-1] + 1))


def test_a_follower_from_an_id_gets_what_came_after(client: Client) -> None:
    until(lambda: len(client.events()) >= 8)
    first = client.events()[0]["id"]
    follow = client.follow_events(after_id=first)
    assert next(follow)["id"] == first + 1
    follow.close()  # type: ignore[attr-defined]


# --- wait -----------------------------------------------------------------------------------------


def test_wait_returns_at_once_when_met_and_in_time_when_not(agent: Agent, place: Place) -> None:
    client = agent.client
    assert client.wait("web", timeout_seconds=1000)["met"] is True
    answer = client.wait("shop/nobody", timeout_seconds=0.1)
    assert answer == {"met": False, "message": "there is no shop/nobody"}
    with pytest.raises(Invalid, match="is none of ready, healthy"):
        client.wait("web", condition="happy")


def test_wait_is_woken_by_the_change(agent: Agent, place: Place) -> None:
    client = agent.client
    place.write("late/compose.yaml", "services: {app: {image: 'not-loaded:latest'}}\n")
    client.sync()
    answer = client.wait("late/app", timeout_seconds=0.2)
    assert answer["met"] is False
    assert "late/container/app is" in answer["message"]
    result: list[dict[str, object]] = []
    thread = threading.Thread(target=lambda: result.append(client.wait("late/app", timeout_seconds=20)))
    thread.start()
    place.write("image", "image not-loaded:latest")
    list(client.load_image(place.manifests / "image"))
    thread.join(20)
    assert result == [{"met": True, "message": ""}]


# --- prune, down, stop ----------------------------------------------------------------------------


def test_a_mass_prune_waits_for_a_yes(agent: Agent, place: Place) -> None:
    client = agent.client
    place.write("shop/compose.yaml", COMPOSE + "".join(f"  v{n}: {{}}\n" for n in range(3)))
    place.write(
        "big/compose.yaml",
        "services:\n" + "".join(f"  s{n}: {{image: 'busybox:latest'}}\n" for n in range(9)),
    )
    assert client.sync(wait=True, timeout_seconds=10)["ready"]
    place.write("big/compose.yaml", "services: {s0: {image: 'busybox:latest'}}\n")
    client.sync()
    until(lambda: not client.status()["ready"])
    assert len(agent.engine.running()) == 12
    with pytest.raises(Conflict, match="present revision"):
        client.acknowledge_prune("another")
    assert client.acknowledge_prune()["objects"] == 8
    assert client.wait(timeout_seconds=10)["met"]
    assert len(agent.engine.running()) == 4


def test_down_removes_all_and_ends_the_agent(agent: Agent, place: Place) -> None:
    lines = list(agent.client.down())
    assert {"removed": "shop/container/web"} in lines
    assert lines[-1] == {"done": True}
    agent.wait_stopped()
    assert agent.engine.list() == ()
    assert agent.engine.list_networks() == ()
    assert [v.name for v in agent.engine.list_volumes()] == ["shop_data"]
    assert agent.engine.is_closed
    with pytest.raises(AgentDown):
        agent.client.status()


def test_down_with_volumes_takes_those_too(agent: Agent) -> None:
    assert {"removed": "volume shop_data"} in list(agent.client.down(volumes=True))
    assert agent.engine.list_volumes() == ()


def test_stopping_the_agent_stops_no_container(agent: Agent) -> None:
    assert agent.client.post("/stop") == {"stopping": True}
    agent.wait_stopped()
    assert len(agent.engine.running()) == 3
    assert not agent.settings.layout.agent_socket.exists()


def test_a_second_agent_is_refused(agent: Agent, place: Place) -> None:
    with pytest.raises(Conflict, match=rf"another agent \(pid {os.getpid()}\) runs this instance"):
        Agent(place.settings, ApiEngine()).start()
    assert agent.client.status()["ready"] is True


def test_the_next_agent_adopts_what_runs(agent: Agent, place: Place) -> None:
    before = agent.engine.running()
    agent.stop()
    agent.engine.calls.clear()
    second = Agent(place.settings, agent.engine).start()
    try:
        assert second.client.wait(timeout_seconds=10)["met"]
        assert agent.engine.running() == before
        assert [op for op, _ in agent.engine.calls if op in ("create", "start", "stop", "delete")] == []
    finally:
        second.stop()


# --- things ---------------------------------------------------------------------------------------


def test_networks_volumes_and_images(client: Client) -> None:
    assert [(n["name"], n["key"]) for n in client.networks()] == [("shop_default", "shop/network/default")]
    assert [(v["name"], v["key"]) for v in client.volumes()] == [("shop_data", "shop/volume/data")]
    assert [i["names"] for i in client.images()] == [["busybox:latest"]]


def test_a_volume_in_use_is_kept_and_an_orphan_removed(agent: Agent, place: Place) -> None:
    client = agent.client
    with pytest.raises(Conflict, match="shop/volume/data wants it"):
        client.remove_volume("shop_data")
    with pytest.raises(NotFound):
        client.remove_volume("nope")
    place.write("shop/compose.yaml", "services: {web: {image: 'busybox:latest'}}\n")
    client.sync(wait=True, timeout_seconds=10)
    client.remove_volume("shop_data")
    assert client.volumes() == []


def test_load_an_image_by_path_and_by_upload(agent: Agent, place: Place) -> None:
    client = agent.client
    archive = place.top / "a.tar"
    archive.write_bytes(b"image one:latest")
    lines = list(client.load_image(archive))
    assert lines[0] == {"step": "copy", "subject": "one:latest", "done_bytes": 1, "total_bytes": 2}
    assert lines[-1]["images"][0]["names"] == ["one:latest"]
    big = place.top / "big"
    big.write_bytes(b"image two:latest " + os.urandom(3_000_000))
    with big.open("rb") as file:
        assert list(client.load_image(file))[-1]["images"][0]["names"] == ["two:latest"]
    assert agent.engine.images.loaded[-1] == big.read_bytes()
    assert list(client.import_image(archive, "three"))[-1]["images"][0]["names"] == ["three"]
    left = [file.name for file in place.layout.data.iterdir() if not file.name.startswith("setpoint.db")]
    assert [name for name in left if name != "ballast"] == ["agent.lock"]


def test_an_archive_that_is_none_is_one_clear_error(client: Client, place: Place) -> None:
    archive = place.top / "a.tar"
    archive.write_bytes(b"nonsense")
    with pytest.raises(Invalid, match="not an archive"):
        list(client.load_image(archive))
    with pytest.raises(SetpointError):
        list(client.load_image(place.top / "missing"))
    with archive.open("rb") as file, pytest.raises(Invalid, match="not an archive"):
        list(client.load_image(file))
    with pytest.raises(Invalid, match="not an absolute path"):
        list(client.lines("POST", "/image/load", {"path": "relative"}))


def test_remove_an_image(agent: Agent) -> None:
    assert agent.client.remove_image("busybox:latest", force=True)["removed"] == ["busybox:latest"]
    with pytest.raises(NotFound):
        agent.client.remove_image("busybox:latest")


def test_stats_of_what_runs(client: Client) -> None:
    stats = client.stats()
    assert sorted(s["name"] for s in stats) == ["shop-db-1", "shop-web-1", "shop-web-2"]
    assert {s["key"] for s in stats} == {"shop/container/db", "shop/container/web"}
    assert {"cpu_seconds", "memory_bytes", "pids", "at"} <= stats[0].keys()


@pytest.mark.parametrize("is_outdated", [False, True])
def test_doctor_and_version(client: Client, is_outdated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Program, "is_outdated", lambda _: is_outdated)
    doctor, version = client.doctor(), client.version()
    parts = ("source", "manifests", "supervisor", "store", "disk", "loop")
    checks = {name: check["ok"] for name, check in doctor.items()}
    assert checks == dict.fromkeys(parts, True) | {"program": not is_outdated}
    assert ("setpoint agent --detach" in doctor["program"].get("hint", "")) is is_outdated
    assert (version["instance"], version["is_outdated"]) == ("t", is_outdated)


def test_revisions(agent: Agent, place: Place) -> None:
    client = agent.client
    place.write("shop/compose.yaml", COMPOSE.replace("scale: 2", "scale: 1"))
    client.sync(wait=True, timeout_seconds=10)
    until(lambda: [r["outcome"] for r in client.revisions()] == ["applied", "applied"])
    newest = client.revisions(limit=1)[0]
    assert newest["id"] == client.status()["revision"]
    assert newest["converged_at"] >= newest["seen_at"]


# --- the socket -----------------------------------------------------------------------------------


def test_the_socket_is_for_root_and_its_group_alone(agent: Agent) -> None:
    path = agent.settings.layout.agent_socket
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert path.stat().st_uid == os.geteuid()


@pytest.mark.skipif(os.geteuid() != 0, reason="to give a file to a group needs root")
@pytest.mark.parametrize(("name", "group"), [("daemon", 1), ("nobody-has-this-group", 0), ("", 0)])
def test_the_socket_is_the_groups_where_there_is_one(place: Place, name: str, group: int) -> None:
    agent = Agent(replace(place.settings, socket_group=name), ApiEngine()).start()
    found = place.layout.agent_socket.stat()
    agent.stop()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, group, 0o660)
    assert place.settings.socket_group == "setpoint"


def test_what_a_dead_agent_left_is_replaced(place: Place) -> None:
    place.layout.run.mkdir(parents=True)
    place.layout.agent_socket.write_text("left over")
    agent = Agent(place.settings, ApiEngine()).start()
    assert agent.client.wait(timeout_seconds=10)["met"]
    agent.stop()


def raw(agent: Agent, request: bytes) -> tuple[int, dict[str, object]]:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10)
        connection.connect(str(agent.settings.layout.agent_socket))
        connection.sendall(request)
        answer = b""
        while data := connection.recv(65536):
            answer += data
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split()[1]), json.loads(body)
    except ValueError:
        return int(head.split()[1]), {}


def post(path: str, body: bytes) -> bytes:
    head = f"POST /setpoint/v1{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}"
    head += "\r\nContent-Type: application/json"
    return head.encode() + b"\r\n\r\n" + body


HOSTILE: list[tuple[bytes, int]] = [
    (b"GET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 404),
    (b"DELETE /setpoint/v1/status HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 405),
    (b"not http at all\r\n\r\n", 400),
    (b"GET /setpoint/v1/events?limit=1e99 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (b"GET /setpoint/v1/events?since=nan HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (b"GET /setpoint/v1/events?limit=-1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (b"GET /setpoint/v1/events?limit=1.5 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (b"GET /setpoint/v1/" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (b"GET /setpoint/v1/objects/..%2f..%2fetc HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", 400),
    (post("/plan", b"[" * 100_000), 400),
    (post("/plan", b'{"files": ' + b"9" * 10_000 + b"}"), 400),
    (post("/plan", b"{}" + b" " * 5_000_000), 413),
    (post("/exec/web", b'{"argv": ["a\\u0000b"]}'), 400),
    (post("/exec/web", b'{"argv": "ls"}'), 400),
    (post("/exec/web", b'{"argv": ["ls"], "rows": -1}'), 400),
    (post("/exec/web", b'{"argv": ["ls"], "user": 7}'), 400),
    (post("/exec/web", b"{}"), 400),
]


@pytest.mark.parametrize(("request_", "status"), HOSTILE)
def test_a_hostile_request_is_an_answer_and_no_harm(agent: Agent, request_: bytes, status: int) -> None:
    code, _ = raw(agent, request_)
    assert code == status
    assert agent.client.status()["ready"] is True


def test_a_refusal_has_its_reason(agent: Agent) -> None:
    code, answer = raw(agent, post("/plan", b"nonsense"))
    assert code == 400
    assert answer == {
        "error": {
            "kind": "Invalid", "op": "read request", "subject": "body",
            "reason": "not JSON: Expecting value: line 1 column 1 (char 0)", "hint": "",
        }
    }  # fmt: skip


def test_idle_connections_keep_nobody_from_an_answer(agent: Agent) -> None:
    idle = []
    try:
        for _ in range(200):
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(str(agent.settings.layout.agent_socket))
            idle.append(connection)
        assert agent.client.status()["ready"] is True
    finally:
        for connection in idle:
            connection.close()


def test_a_bug_is_an_answer_without_its_traceback(agent: Agent, caplog: pytest.LogCaptureFixture) -> None:
    def explode() -> None:
        raise RuntimeError("a secret detail")

    agent.engine.list_networks = explode  # type: ignore[method-assign,assignment]
    with pytest.raises(SetpointError, match="a bug in the agent: RuntimeError") as caught:
        agent.client.networks()
    assert "secret" not in str(caught.value)
    assert "a secret detail" in caplog.text


def test_errors_cross_the_socket_as_they_were_raised(agent: Agent) -> None:
    def busy() -> None:
        raise Temporary("list", "networks", "busy", "wait", retry_after_seconds=2.5)

    agent.engine.list_networks = busy  # type: ignore[method-assign,assignment]
    with pytest.raises(Temporary) as caught:
        agent.client.networks()
    assert str(caught.value) == "list networks: busy (hint: wait)"
    assert caught.value.retry_after_seconds == 2.5


def test_no_agent_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(AgentDown, match=r"no agent answers \(hint: start it: setpoint agent"):
        Client(tmp_path / "none.sock").status()


def test_a_drift_that_the_engine_tells_is_repaired_and_counted(agent: Agent) -> None:
    drift = Drift("veth", agent.client.describe("db")["containers"][0]["id"], "it is gone")
    agent.on_loop(lambda: agent.engine.tamper(drift))
    until(lambda: any(e["reason"] == "DriftRepaired" for e in agent.client.events(key="db")))
    value = agent.context.metrics.registry.get_sample_value(
        "setpoint_drift_repairs_total", {"kind": "container", "cause": "veth", "outcome": "ok"}
    )
    assert value == 1.0
    assert Key.parse("shop/container/db") in agent.context.loop.objects()
