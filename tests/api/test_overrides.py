"""What git owns is refused to Docker's clients with its place, unless they say for how long they take it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.host import Host
from tests.api.http_client import Http
from tests.e2e.story import Story, eventually

KEY = "shop/container/web"
MANIFEST = "services: {web: {image: busybox, command: sleep 1000, container_name: git-web, init: true}}"


@pytest.fixture
def web(agent_story: Story, host: Host) -> Iterator[Story]:
    agent_story.apply({"shop/compose.yaml": MANIFEST})
    yield agent_story
    agent_story.setpoint("resume", KEY)
    agent_story.apply({"shop/compose.yaml": None})


def phase(story: Story) -> str:
    found = story.object(KEY)
    assert found is not None
    return f"{found['phase']} {found['containers'][0]['phase']}"


def test_it_is_refused_with_file_and_line(web: Story, http: Http) -> None:
    for call in ("stop", "pause", "kill", "update"):
        answer = http("POST", f"/containers/git-web/{call}", {} if call == "update" else None)
        assert answer.status == 409, call
        assert "shop/compose.yaml:1 owns it" in answer.json["message"], call
    assert phase(web) == "Running running"


def test_with_the_header_it_is_done_and_said_and_undone(web: Story, http: Http) -> None:
    pid = web.pid(KEY)
    long, short = {"X-Setpoint-Override": "1h"}, {"X-Setpoint-Override": "1s"}
    assert http("POST", "/containers/git-web/stop?t=0", headers=long).status == 204
    assert phase(web) == "Suspended stopped"
    status = web.setpoint("status")
    assert "overridden until" in status and "by API: stop" in status
    assert http("POST", "/containers/git-web/stop", headers=short).status == 304
    eventually(lambda: phase(web) == "Running running", "it runs again by itself")
    assert web.pid(KEY) != pid


def test_it_is_resumed_by_hand(web: Story, http: Http) -> None:
    mine = {"X-Setpoint-Override": "1h"}
    assert http("POST", "/containers/git-web/pause", headers=mine).status == 204
    eventually(lambda: phase(web) == "Suspended paused", "seen")
    assert http("POST", "/containers/git-web/unpause", headers=mine).status == 204
    assert http("POST", "/containers/git-web/kill", headers=mine).status == 204
    eventually(lambda: phase(web) == "Suspended stopped", "killed")
    web.setpoint("resume", KEY)
    eventually(lambda: phase(web) == "Running running", "as its manifest says")


def test_one_that_is_left_alone_is_restarted_at_once(web: Story, http: Http, host: Host) -> None:
    """Without the header, too: it was waited for the loop, which leaves it alone, for ten minutes."""
    web.setpoint("override", KEY, "--for", "1h", "stop")
    host.docker("restart", "-t", "0", "git-web", seconds=20)
    eventually(lambda: phase(web) == "Suspended running", "started by hand")
    pid = web.pid(KEY)
    host.docker("restart", "-t", "0", "git-web", seconds=20)
    eventually(lambda: phase(web) == "Suspended running" and web.pid(KEY) != pid, "started anew")


def test_limits_are_put_back(web: Story, http: Http) -> None:
    long, short = {"X-Setpoint-Override": "1h"}, {"X-Setpoint-Override": "1s"}
    pid = web.pid(KEY)
    answer = http("POST", "/containers/git-web/update", {"PidsLimit": 17}, headers=long)
    assert answer.status == 200, answer.json
    limit = Path(f"/sys/fs/cgroup{cgroup_of(pid)}/pids.max")
    assert limit.read_text().strip() == "17"
    assert http("POST", "/containers/git-web/update", {"PidsLimit": 18}, headers=short).status == 200
    eventually(lambda: limit.read_text().strip() not in ("17", "18"), "as its manifest says")
    refused = http("POST", "/containers/git-web/update", {"RestartPolicy": {"Name": "no"}}, headers=long)
    assert refused.status == 409


def cgroup_of(pid: int) -> str:
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    found = next((line for line in lines if ":pids:" in line), lines[-1])
    prefix = "/pids" if ":pids:" in found else ""
    return prefix + found.split(":", 2)[2]


@pytest.mark.parametrize("time", ["", "soon", "-1s", "0s", "10000h", "1"])
def test_a_time_that_is_none_changes_nothing(web: Story, http: Http, time: str) -> None:
    answer = http("POST", "/containers/git-web/stop", headers={"X-Setpoint-Override": time})
    assert answer.status == 400
    assert phase(web) == "Running running"


def test_the_docker_cli_does_it_by_its_config(web: Story, host: Host, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"HttpHeaders": {"X-Setpoint-Override": "1h"}}))
    done = subprocess.run(
        ["docker", "-H", f"unix://{web.layout.agent_socket}", "stop", "-t", "0", "git-web"],
        env={**os.environ, "DOCKER_CONFIG": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert phase(web) == "Suspended stopped"


def test_the_verb_does_it_too(web: Story) -> None:
    said = web.setpoint("override", "shop/web", "--for", "1h", "stop")
    assert said == "stop git-web; shop/container/web is left alone for 3600 s\n"
    assert phase(web) == "Suspended stopped"
    web.kill(web.agent_pid())
    web.start_agent("--registries", str(web.tree.parent / "registries.yaml"))
    eventually(lambda: "overridden until" in web.setpoint("status"), "after a restart of the agent, too")
    assert phase(web) == "Suspended stopped"
    web.setpoint("resume", "shop/web")
    eventually(lambda: phase(web) == "Running running", "as its manifest says")


def test_what_the_api_made_needs_no_header(web: Story, http: Http, host: Host) -> None:
    host.docker("run", "-d", "--name", "mine", "--init", "busybox", "sleep", "1000")
    answer = http("POST", "/containers/mine/stop?t=0", headers={"X-Setpoint-Override": "1h"})
    assert answer.status == 204
    web.setpoint("override", "mine", "--for", "1h", "start", code=1)
    assert "no manifest owns it" in web.said
