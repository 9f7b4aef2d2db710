"""`status` in one look, from the agent or from the store."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent.cli import connect, output
from agent.cli.status import render
from runtime.errors import Invalid, NotFound
from store.records import Batch, Key, ObjectRecord, RevisionRecord, StatusRecord
from store.store import Store
from tests.unit.cli.conftest import FakeAgent, Run


def item(key: str, **changes: Any) -> dict[str, Any]:
    return {
        "key": key, "phase": "Running", "ready": True, "restarts": 0, "message": "", "since": None,
        "revision": "1234567890abcdef1234567890abcdef12345678", "desired": 1, "file": "shop/compose.yaml",
        "line": 3,
        "containers": [{"id": "a" * 64, "pid": 41, "addresses": {"shop_default": "10.0.0.2"}}], **changes,
    }  # fmt: skip


def status(*objects: dict[str, Any], **changes: Any) -> dict[str, Any]:
    ready = all(o["ready"] for o in objects)
    return {"ready": ready, "agent": "running", "revision": "1" * 40, "objects": list(objects), **changes}


STALLED = item(
    "shop/container/db",
    phase="Stalled",
    ready=False,
    restarts=10,
    message="exited 10 times with 1",
    containers=[],
)


def test_one_look() -> None:
    text = render(
        status(item("shop/container/web"), STALLED, item("shop/volume/data", phase="Ready", containers=[]))
    )
    assert text.splitlines() == [
        "not ready  2 of 3 objects  revision 1111111",
        "",
        "OBJECT              READY  PHASE    SINCE  RESTARTS  COMMIT   MESSAGE",
        "shop/container/web  1/1    Running  -      0         1234567",
        "shop/container/db   0/1    Stalled  -      10        1234567  exited 10 times with 1",
        "shop/volume/data    yes    Ready    -      -         1234567",
    ]


def test_what_a_started_agent_only_remembers_is_said_so() -> None:
    text = render(status(item("shop/container/web"), STALLED, remembered=2))
    assert text.splitlines()[1] == (
        "the agent has just started: 2 of these are what was last known, and are looked at now"
    )
    assert "just started" not in render(status(item("shop/container/web"), remembered=0))
    assert "just started" not in render(status(item("shop/container/web"), agent="down", remembered=1))


def test_what_ended_as_it_should_is_done() -> None:
    line = render(status(item("shop/container/init", phase="Completed", containers=[]))).splitlines()[-1]
    assert line.split()[:3] == ["shop/container/init", "done", "Completed"]


def test_wide_has_places_addresses_and_pids() -> None:
    line = render(status(item("shop/container/web")), wide=True).splitlines()[-1]
    assert line.split() == [
        "shop/container/web",
        "1/1",
        "Running",
        "-",
        "0",
        "1234567",
        "shop/compose.yaml:3",
        "10.0.0.2",
        "41",
    ]


def test_manifest_errors_and_a_lost_source_are_said_first() -> None:
    error = {"file": "shop/compose.yaml", "line": 4, "column": 7, "message": "not a port", "hint": "8080:80"}
    text = render(
        status(
            item("shop/container/web"),
            errors=[error],
            source={"error": "no such branch", "subject": "Add shop"},
        )
    )
    assert "(Add shop)" in text.splitlines()[0]
    assert text.splitlines()[2:4] == [
        "source cannot be read: no such branch",
        "shop/compose.yaml:4:7: not a port (hint: 8080:80)",
    ]


def test_hostile_words_do_not_reach_the_terminal() -> None:
    hostile = item("shop/container/web\x1b[2J", ready=False, message="\x1b]0;x\x07\u202e", phase="\x9b31m")
    text = render(status(hostile, revision="\x1b[2J", source={"subject": "\x1b[1A", "error": "\x07"}))
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)


def test_json_is_the_agents_word(agent: FakeAgent, run: Run) -> None:
    agent.routes["GET /status"] = status(item("shop/container/web"))
    code, out, _ = run("status", "-o", "json")
    assert code == 0
    assert json.loads(out) == agent.routes["GET /status"]


def test_names_choose(agent: FakeAgent, run: Run) -> None:
    agent.routes["GET /status"] = status(item("shop/container/web"), item("lab/container/x"), STALLED)
    assert [o["key"] for o in json.loads(run("status", "-o", "json", "shop")[1])["objects"]] == [
        "shop/container/web",
        "shop/container/db",
    ]
    assert [o["key"] for o in json.loads(run("status", "-o", "json", "-q")[1])["objects"]] == [
        "shop/container/db"
    ]
    code, _, err = run("status", "shop/wbe")
    assert code == 1
    assert "did you mean shop/web?" in err


def test_without_agent_and_store_it_says_how_to_start_one(no_agent: Path, run: Run) -> None:
    code, _, err = run("status")
    assert code == 1
    assert "no agent answers" in err
    assert "setpoint agent --detach" in err


def test_the_store_answers_when_the_agent_is_down(no_agent: Path, run: Run) -> None:
    key = Key("shop", "container", "web")
    dead = 2**22 + 1  # above any pid_max
    record = ObjectRecord(key, "git", {"scale": 2}, "h", 1, 1, "shop/compose.yaml", 3, "abc")
    replicas = ({"id": "a", "pid": os.getpid()}, {"id": "b", "pid": dead})
    seen = StatusRecord(key, "Running", True, 5.0, 1, "", containers=replicas)
    store = Store(no_agent)
    revision = RevisionRecord("abc", "s", 1.0, "applied")
    store.write(Batch(objects=(record,), statuses=(seen,), revisions=(revision,)))
    store.close()
    code, out, _ = run("status", "-o", "json")
    data = json.loads(out)
    assert code == 0
    assert (data["agent"], data["revision"], data["ready"]) == ("down", "abc", False)
    assert data["objects"][0]["phase"] == "Running"
    assert [c["pid"] for c in data["objects"][0]["containers"]] == [os.getpid(), None]
    text = run("status")[1]
    assert "agent down" in text.splitlines()[1]
    assert "1/2" in text


KEYS = [
    "lab/container/web",
    "shop/container/db",
    "shop/container/web",
    "shop/network/web",
    "shop/volume/data",
]


@pytest.mark.parametrize(
    ("word", "keys"),
    [
        ("shop/container/web", ["shop/container/web"]),
        ("shop/web", ["shop/container/web"]),
        ("Shop/Web/", ["shop/container/web"]),
        ("shop/data", ["shop/volume/data"]),
        ("db", ["shop/container/db"]),
        ("shop", KEYS[1:]),
    ],
)
def test_what_a_word_names(word: str, keys: list[str]) -> None:
    assert connect.match_keys([word], KEYS) == keys


def test_what_a_word_does_not_name() -> None:
    with pytest.raises(Invalid, match="several have that name"):
        connect.match_keys(["web"], KEYS)
    for word in ("nothing", "shop/nothing", "a/b/c", "a/b/c/d"):
        with pytest.raises(NotFound):
            connect.match_keys([word], KEYS)


def test_a_narrow_terminal_shows_messages_below_and_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = status(item("shop/container/web", ready=False, phase="Waiting", message="x" * 90))
    monkeypatch.setattr(output, "terminal_width", lambda: 100)
    assert render(seen).splitlines()[-1] == "shop/container/web: " + "x" * 90
    monkeypatch.setattr(output, "terminal_width", lambda: 0)
    assert render(seen).splitlines()[-1].endswith("  " + "x" * 90)


def test_errors_in_manifests_are_counted() -> None:
    error = {"file": "shop/compose.yaml", "line": 1, "column": 2, "message": "no", "hint": ""}
    seen = status(item("shop/container/web"), ready=False, errors=[error])
    assert render(seen).startswith("not ready  1 of 1 objects, 1 error in the manifests")
