"""What each verb asks the agent, what it shows, and how it exits."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote

import pytest

from tests.unit.cli.conftest import FakeAgent, Run

ACTION = {
    "key": "shop/container/web",
    "action": "create",
    "kind": "CreateContainer",
    "replica": 1,
    "detail": "3f2a",
    "cause": "it is not there",
    "file": "shop/compose.yaml",
    "line": 3,
    "revision": "abc",
    "text": "create …",
}
COMPOSE = "services:\n  web:\n    image: busybox:latest\n"


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    (tmp_path / "m/shop").mkdir(parents=True)
    (tmp_path / "m/shop/compose.yaml").write_text(COMPOSE)
    return tmp_path / "m"


class TestPlan:
    def test_nothing_to_do_is_0(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /plan"] = {"actions": [], "errors": []}
        agent.routes["GET /status"] = objects("shop/container/a")
        assert run("plan") == (0, "nothing to do\n", "")

    def test_nothing_to_do_says_what_waits(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /plan"] = {"actions": [], "errors": []}
        status = objects("shop/container/a", "shop/container/b")
        status["objects"][0] |= {"ready": False, "phase": "Waiting", "message": "image x is not there"}
        agent.routes["GET /status"] = status
        code, out, _ = run("plan")
        assert (code, out) == (0, "nothing to do\n  shop/container/a is Waiting: image x is not there\n")

    def test_changes_are_2(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /plan"] = {"actions": [ACTION], "errors": []}
        code, out, _ = run("plan")
        assert code == 2
        assert out == (
            "+ create shop/container/web#1: it is not there (shop/compose.yaml:3)\n1 action on 1 object\n"
        )

    def test_an_error_is_1_even_with_changes(self, agent: FakeAgent, run: Run) -> None:
        error = {"file": "x.yaml", "line": 1, "column": 2, "message": "no", "hint": ""}
        agent.routes["GET /plan"] = {"actions": [ACTION], "errors": [error]}
        code, _, err = run("plan")
        assert (code, err) == (1, "x.yaml:1:2: no\n")

    def test_json_has_key_action_cause_file_line(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /plan"] = {"actions": [ACTION], "errors": []}
        code, out, _ = run("plan", "-o", "json")
        assert code == 2
        assert (
            json.loads(out)["actions"][0].items()
            >= {
                "key": "shop/container/web",
                "action": "create",
                "cause": "it is not there",
                "file": "shop/compose.yaml",
                "line": 3,
            }.items()
        )

    def test_a_directory_is_sent_as_it_is_saved(self, agent: FakeAgent, run: Run, shop: Path) -> None:
        agent.routes["POST /plan"] = {"actions": [], "errors": []}
        assert run("plan", str(shop))[0] == 0
        _, _, body = agent.asked[0]
        assert {path: base64.b64decode(text).decode() for path, text in body["files"].items()} == {
            "shop/compose.yaml": COMPOSE
        }


class TestValidate:
    def test_what_is_valid_is_counted(self, run: Run, shop: Path) -> None:
        assert run("validate", str(shop)) == (0, "valid: 1 container, 1 network\n", "")
        assert run("validate", "-q", str(shop)) == (0, "", "")

    def test_every_error_with_its_place_all_in_one_go(self, run: Run, shop: Path) -> None:
        (shop / "shop/compose.yaml").write_text(
            "services:\n  web:\n    imag: x\n  db:\n    image: 3\n    port: [1]\n"
        )
        code, out, err = run("validate", str(shop))
        lines = err.splitlines()
        assert (code, out) == (1, "")
        assert any(line.startswith(f"{shop}/shop/compose.yaml:3:") for line in lines)
        assert any(line.startswith(f"{shop}/shop/compose.yaml:6:") for line in lines)
        file = str(shop / "shop/compose.yaml")  # as it was named, so that an editor finds it
        assert all(line.startswith(file) for line in run("validate", file)[2].splitlines()[:-1])
        assert lines[-1] == f"{len(lines) - 1} errors"

    def test_json(self, run: Run, shop: Path) -> None:
        (shop / "shop/compose.yaml").write_text("services: [")
        code, out, _ = run("validate", "-o", "json", str(shop))
        data = json.loads(out)
        assert code == 1
        assert data["valid"] is False
        assert data["errors"][0]["file"] == "shop/compose.yaml"
        assert data["errors"][0]["line"] >= 1

    def test_one_file_alone(self, run: Run, shop: Path) -> None:
        (shop / "shop/other.yaml").write_text("nonsense: [")
        assert run("validate", str(shop / "shop/compose.yaml"))[0] == 0
        assert run("validate", str(shop))[0] == 1

    def test_hostile_manifests_cannot_steer_the_terminal(self, run: Run, shop: Path) -> None:
        (shop / "shop/compose.yaml").write_text(
            'services:\n  web:\n    "\\e]0;x\\a\\u202e": 1\n    image: x\n'
        )
        code, _, err = run("validate", str(shop))
        assert code == 1
        assert not {"\x1b", "\x07", "\u202e"} & set(err)


class TestWait:
    def test_met_is_0_and_silent(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /wait"] = {"met": True, "message": ""}
        assert run("wait", "--for", "ready", "--timeout", "1m") == (0, "", "")
        assert agent.asked[0][1] == "/wait?for=ready&timeout=60.0"

    def test_not_met_is_1_with_the_reason(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /wait"] = {"met": False, "message": "shop/container/db is Stalled: no image"}
        code, out, err = run("wait", "shop/db", "--timeout", "2s")
        assert (code, out) == (1, "")
        assert err == "not ready after 2 s: shop/container/db is Stalled: no image\n"
        assert "key=shop%2Fdb" in agent.asked[0][1]


def objects(*keys: str) -> dict[str, Any]:
    return {
        "ready": True,
        "agent": "running",
        "revision": "r",
        "objects": [{"key": k, "ready": True, "phase": "Running"} for k in keys],
    }


class TestActing:
    def test_restart_of_a_project_restarts_its_containers(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /status"] = objects(
            "shop/container/a", "shop/container/b", "shop/volume/v", "lab/container/c"
        )
        for key in ("shop/container/a", "shop/container/b"):
            agent.routes[f"POST /restart/{key}"] = {"key": key}
        assert run("restart", "shop")[:2] == (0, "restarting shop/container/a\nrestarting shop/container/b\n")

    def test_restart_of_what_is_no_container(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /status"] = objects("shop/volume/v")
        assert run("restart", "shop/v")[0] == 1

    @pytest.mark.parametrize(("verb", "says"), [("suspend", "suspended"), ("resume", "resumed")])
    def test_suspend_and_resume(self, verb: str, says: str, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /status"] = objects("shop/container/a")
        agent.routes[f"POST /{verb}/shop/container/a"] = {"key": "shop/container/a"}
        assert run(verb, "shop/a") == (0, f"{says} shop/container/a\n", "")

    def test_sync_says_where_it_is(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["POST /sync"] = {
            "revision": "a" * 40,
            "ready": True,
            "message": "",
            "source": {"subject": "Add"},
        }
        assert run("sync") == (0, "revision aaaaaaa (Add): ready\n", "")

    def test_sync_of_a_broken_source_is_1(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["POST /sync"] = {
            "revision": "r",
            "ready": False,
            "message": "m",
            "source": {"error": "gone"},
        }
        code, _, err = run("sync")
        assert (code, err) == (1, "gone\n")

    def test_prune_asks_before_it_says_yes(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /status"] = {
            "objects": [
                {
                    "key": "a/container/b",
                    "deleting": True,
                    "ready": False,
                    "phase": "Waiting",
                    "message": "waits",
                    "conditions": [{"type": "Ready", "reason": "PruneHeld"}],
                },
                {"key": "a/container/c", "deleting": True, "ready": False, "phase": "Removing"},
            ]
        }
        assert run("prune")[1] == "a/container/b: waits\nsetpoint prune --yes removes them\n"
        agent.routes["POST /prune/ack"] = {"revision": "r", "objects": 1}
        assert run("prune", "--yes")[1] == "yes to revision r: 1 objects\n"


class TestLooking:
    def test_events_are_lines(self, agent: FakeAgent, run: Run) -> None:
        event = {
            "id": 1,
            "at": 0.0,
            "key": "shop/container/web",
            "type": "Warning",
            "reason": "Exited",
            "message": "code 1\x1b[2J",
            "revision": "",
            "cause": ["revision r", "exit seen"],
        }
        agent.routes["GET /events"] = [event]
        out = run("events", "shop/web")[1]
        assert out.endswith("shop/container/web  Exited  code 1\\x1b[2J (exit seen)\n")
        assert "key=shop%2Fweb" in agent.asked[0][1]
        run("events", "shop")
        assert "project=shop" in agent.asked[1][1]

    def test_why_tells_the_chain_in_order(self, agent: FakeAgent, run: Run) -> None:
        step = {
            "id": 1,
            "at": 0.0,
            "key": "shop/container/web",
            "type": "Normal",
            "reason": "Started",
            "message": "3f2a",
            "revision": "abc",
            "cause": ["revision abc", "c.yaml:3", "it is not there"],
        }
        commit = {"id": "a" * 40, "subject": "Add web", "author": "Ann", "seen_at": 0.0}
        result = {"phase": "Running", "ready": True, "since": None, "message": ""}
        agent.routes["GET /why/shop/web"] = {
            "key": "shop/container/web",
            "revision": "a" * 40,
            "commit": commit,
            "file": "c.yaml",
            "line": 3,
            "steps": [step],
            "result": result,
        }
        words = [line.split()[0] for line in run("why", "shop/web")[1].splitlines()]
        assert words == ["shop/container/web", "commit", "manifest", "seen", "did", "result"]

    def test_describe_shows_spec_and_conditions(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /objects/shop/web"] = {
            "key": "shop/container/web",
            "phase": "Running",
            "ready": True,
            "restarts": 2,
            "message": "",
            "since": 1.0,
            "owner": "git",
            "file": "c.yaml",
            "line": 3,
            "revision": "abc",
            "generation": 4,
            "observed_generation": 4,
            "conditions": [
                {"type": "Ready", "status": "True", "reason": "Running", "message": "", "since": 1.0}
            ],
            "containers": [{"id": "f" * 64, "pid": 7, "phase": "running", "addresses": {"n": "10.0.0.2"}}],
            "spec": {"image": "busybox"},
            "events": [],
        }
        out = run("describe", "shop/web")[1]
        assert "c.yaml:3 at abc (owner git)" in out
        assert "Ready=True Running" in out
        assert "ffffffffffff  running  pid 7  n 10.0.0.2" in out
        assert "image: busybox" in out

    def test_get_by_kind_and_name(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /objects"] = objects("shop/container/a", "shop/volume/v")["objects"]
        assert [o["key"] for o in json.loads(run("get", "volumes", "-o", "json")[1])] == ["shop/volume/v"]
        agent.routes["GET /objects/shop/container/a"] = {"key": "shop/container/a", "spec": {}, "events": []}
        assert json.loads(run("get", "shop/a", "-o", "json")[1]) == {"key": "shop/container/a", "spec": {}}

    def test_logs_keep_the_two_streams_apart(self, agent: FakeAgent, run: Run) -> None:
        frame = b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n"
        agent.routes["GET /logs/shop/web"] = frame
        assert run("logs", "shop/web", "--tail", "5", "-t") == (0, "out\n", "err\n")
        assert "tail=5" in agent.asked[0][1]
        assert "timestamps=1" in agent.asked[0][1]

    def test_stats_as_data(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /stats"] = [{"id": "a", "key": "shop/container/web", "cpu_seconds": 1.0}]
        assert json.loads(run("stats", "-o", "json")[1])[0]["cpu_seconds"] == 1.0

    def test_top(self, agent: FakeAgent, run: Run) -> None:
        process = {"pid": 1, "user": 0, "state": "S", "cpu_seconds": 2.25, "memory_bytes": 1613824}
        process |= {"container": "shop-web-1", "command": ["sh", "-c", "x\x1b"]}
        agent.routes["GET /top/shop/web"] = [process]
        head, line = run("top", "shop/web")[1].splitlines()
        assert head.split() == ["CONTAINER", "PID", "USER", "STATE", "CPU", "MEMORY", "COMMAND"]
        assert line.split() == ["shop-web-1", "1", "0", "S", "2.2s", "1.6", "MB", "sh", "-c", "x\\x1b"]

    def test_things(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /networks"] = [
            {"name": "n", "subnet": "10.1.0.0/24", "gateway": "10.1.0.1", "bridge": "br0"}
        ]
        assert run("network", "ls")[1].splitlines()[1].split() == [
            "n",
            "10.1.0.0/24",
            "10.1.0.1",
            "br0",
            "no",
        ]
        agent.routes["GET /volumes"] = [{"name": "v", "path": "/var/lib/x", "created_at": 0}]
        assert "/var/lib/x" in run("volume", "ls")[1]
        agent.routes["POST /volume/rm"] = {}
        assert run("volume", "rm", "v")[1] == "removed v\n"

    def test_version(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /version"] = {"version": "9.9"}
        assert "agent 9.9" in run("version")[1]


class TestImages:
    IMAGE: ClassVar[dict[str, Any]] = {
        "id": "sha256:" + "c" * 64,
        "names": ["docker.io/library/busybox:latest"],
        "size_bytes": 1_100_000,
        "created_at": 0,
    }

    def test_ls(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["GET /images"] = [self.IMAGE]
        assert run("image", "ls")[1].splitlines()[1].split()[:3] == [
            "docker.io/library/busybox:latest",
            "c" * 12,
            "1.1",
        ]
        assert run("image", "ls", "-q", "busybox")[1] == self.IMAGE["id"] + "\n"
        assert run("image", "ls", "-q", "cccccc")[0] == 0
        code, _, err = run("image", "ls", "nginx")
        assert code == 1
        assert "find image nginx: not in the store" in err

    def test_load_shows_what_was_loaded(self, agent: FakeAgent, run: Run, tmp_path: Path) -> None:
        (tmp_path / "x.tar").write_bytes(b"x")
        agent.routes["POST /image/load"] = (
            b'{"message":"unpacking"}\n' + json.dumps({"images": [self.IMAGE]}).encode()
        )
        assert run("image", "load", str(tmp_path / "x.tar")) == (
            0,
            "loaded docker.io/library/busybox:latest\n",
            "",
        )
        assert agent.asked[0][:2] == ("POST", f"/image/load?path={quote(str(tmp_path / 'x.tar'), safe='')}")

    def test_load_of_nothing(self, agent: FakeAgent, run: Run) -> None:
        code, _, err = run("image", "load", "/no/such.tar")
        assert (code, err) == (1, "error: load image /no/such.tar: no such file\n")
        assert agent.asked == []

    def test_an_error_of_the_agent_is_shown_as_its_own(self, agent: FakeAgent, run: Run) -> None:
        agent.routes["POST /image/rm"] = {
            "error": {
                "kind": "Conflict",
                "op": "remove image",
                "subject": "x",
                "reason": "shop/web wants it",
                "hint": "--force",
            }
        }
        assert run("image", "rm", "x") == (1, "", "error: remove image x: shop/web wants it\nhint: --force\n")


def test_variables_come_from_an_env_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: '${IMAGE:?set it}'}}")
    assert run("validate", str(tmp_path))[0] == 1
    (tmp_path.parent / "variables").write_text("IMAGE=busybox\n")
    assert run("validate", "--env-file", str(tmp_path.parent / "variables"), str(tmp_path))[0] == 0
    code, _, err = run("validate", "--env-file", "/nowhere", str(tmp_path))
    assert (code, err.splitlines()[0]) == (1, "error: read variables /nowhere: No such file or directory")


def test_credentials_that_others_may_read_are_refused(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "git"
    file.write_text("https://me:secret@git.example.org\n")
    file.chmod(0o644)
    code, _, err = run("agent", "--git", "https://git.example.org/x", "--git-credentials", str(file))
    assert code == 1
    assert err.splitlines() == [
        f"error: read credentials {file}: others may read it", f"hint: chmod 600 {file}"
    ]  # fmt: skip
