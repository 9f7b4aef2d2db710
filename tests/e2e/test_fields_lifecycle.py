"""Fields that say when a container runs: restarts, health, dependencies, profiles, what is ensured."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.images import write_image
from tests.e2e.project import BASE, Project
from tests.e2e.story import Story, eventually, is_alive, started_at

COMPOSE = (
    BASE
    + """
x-serve: &serve {<<: *base, command: [httpd, -f, -p, "80", -h, /tmp]}
x-checked: &checked {<<: *base, image: "checked:latest"}
x-after: &after
  <<: *base
  volumes: ["shared:/shared"]
services:
  ends-well: {<<: *base, command: ["true"]}
  ends-badly: {<<: *base, command: [sh, -c, "exit 3"]}
  no: {<<: *base, command: [sh, -c, "exit 4"], restart: "no"}
  always: {<<: *base, command: ["true"], restart: {policy: always, max_attempts: 3, window: 60s}}
  on-failure: {<<: *base, command: ["false"], restart: on-failure:2}
  on-failure-well: {<<: *base, command: ["true"], restart: on-failure}
  unless-stopped: {<<: *base, restart: unless-stopped}
  deployed:
    <<: *base
    command: ["false"]
    deploy: {restart_policy: {condition: on-failure, max_attempts: 2}}
  not-found: {<<: *base, command: [no-such-program]}

  cmd: {<<: *base, healthcheck: {test: [CMD, test, -e, /bin/sh], interval: 100ms}}
  shell:
    <<: *base
    command: [sh, -c, "sleep 0.3; touch /tmp/ok; exec sleep 1000"]
    healthcheck: {test: "test -e /tmp/ok && echo fine", interval: 100ms, retries: 100}
  http:
    <<: *base
    command: [sh, -c, "echo x >/tmp/x; exec httpd -f -p 80 -h /tmp"]
    healthcheck: {http: ":80/x"}
  http-404: {<<: *serve, healthcheck: {http: ":80/x", interval: 50ms, retries: 2}}
  tcp: {<<: *serve, healthcheck: {tcp: ":80"}}
  tcp-closed: {<<: *base, healthcheck: {tcp: ":80", interval: 50ms, retries: 2}}
  starts-late:
    <<: *base
    command: [sh, -c, "sleep 0.5; touch /tmp/ok; exec sleep 1000"]
    healthcheck: {test: test -e /tmp/ok, interval: 60s, retries: 1, start_period: 60s, start_interval: 100ms}
  times-out:
    <<: *base
    healthcheck: {test: [CMD, sleep, "4321"], interval: 50ms, timeout: 100ms, retries: 1}
  image-health: *checked
  disabled: {<<: *checked, healthcheck: {disable: true}}
  none: {<<: *checked, healthcheck: {test: [NONE]}}
  restarted:
    <<: *base
    command: [sh, -c, "touch /dev/shm/ok; exec sleep 1000"]
    healthcheck: {test: test -e /dev/shm/ok, interval: 50ms, retries: 2}
    on_unhealthy: restart

  job: {<<: *after, command: [sh, -c, "sleep 0.3; touch /shared/done"]}
  failing-job: {<<: *base, command: ["false"]}
  db:
    <<: *after
    command: [sh, -c, "sleep 0.3; touch /shared/healthy; exec sleep 1000"]
    healthcheck: {test: test -e /shared/healthy, interval: 50ms, retries: 100}
  after-job:
    <<: *after
    command: [sh, -c, "ls /shared/done; exec sleep 1000"]
    depends_on: {job: {condition: service_completed_successfully}}
  after-healthy:
    <<: *after
    command: [sh, -c, "ls /shared/healthy; exec sleep 1000"]
    depends_on: {db: {condition: service_healthy}}
  after-started: {<<: *base, depends_on: [db]}
  after-failing: {<<: *base, depends_on: {failing-job: {condition: service_completed_successfully}}}
  after-optional:
    <<: *base
    depends_on:
      tool: {condition: service_started, required: false}
      failing-job: {condition: service_completed_successfully, required: false}

  tool: {<<: *base, profiles: [debug]}
  no-image: {image: "127.0.0.1:1/never/heard:of", pull_policy: never}
  wants-image: {image: "127.0.0.1:1/never/heard:of", pull_policy: missing}
  has-image: {<<: *base, pull_policy: never}
volumes: {shared: {}}
"""
)
UNREADY = (
    "ends-badly", "no", "always", "on-failure", "deployed",
    "not-found", "http-404", "tcp-closed", "times-out",
    "failing-job", "after-failing", "no-image", "wants-image",
)  # fmt: skip


@pytest.fixture(scope="module")
def project(
    shared_story: Story, busybox_archive: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    check = {"Test": ["CMD-SHELL", "echo of the image; exit 1"], "Interval": 50_000_000, "Retries": 2}
    archive = write_image(
        tmp_path_factory.mktemp("image") / "checked.tar", busybox_archive, "checked:latest", Healthcheck=check
    )
    shared_story.setpoint("image", "load", archive)
    found = Project(shared_story, "lifecycle")
    found.apply(COMPOSE, unready=(*UNREADY, "image-health"))
    yield found


def becomes(project: Project, name: str, phase: str, words: str = "") -> dict[str, Any]:
    """The object once it has that phase and a message with these words."""

    def look() -> dict[str, Any] | None:
        found = project.refresh()[f"container/{name}"]
        return found if found["phase"] == phase and words in found["message"] else None

    found = eventually(look, f"{name} is {phase} {words!r}")
    assert found is not None
    return found


# --- restart ------------------------------------------------------------------------------------


def test_without_a_policy_what_ends_has_ended(project: Project) -> None:
    assert becomes(project, "ends-well", "Completed")["restarts"] == 0
    assert becomes(project, "ends-badly", "Failed", "exited with code 3")["restarts"] == 0
    assert becomes(project, "no", "Failed", "exited with code 4")["restarts"] == 0


def test_restarts_end_when_there_are_too_many(project: Project) -> None:
    assert becomes(project, "always", "Stalled", "failed 3 times within 60 s")["restarts"] == 2
    assert becomes(project, "on-failure", "Stalled", "failed 2 times")["restarts"] == 1
    assert becomes(project, "deployed", "Stalled", "failed 2 times")["restarts"] == 1
    assert becomes(project, "on-failure-well", "Completed")["restarts"] == 0


def test_unless_stopped(project: Project) -> None:
    project.refresh()
    before = project.pid("unless-stopped")
    os.kill(before, signal.SIGKILL)
    eventually(lambda: project.refresh() and not is_alive(before), "it ended")
    becomes(project, "unless-stopped", "Running")
    assert project.pid("unless-stopped") != before


def test_a_program_that_is_not_there_is_named(project: Project) -> None:
    found = becomes(project, "not-found", "Stalled")
    assert "no-such-program: executable file not found in $PATH" in found["message"]


# --- healthcheck --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cmd", "shell", "http", "tcp", "starts-late", "db"])
def test_healthy(project: Project, name: str) -> None:
    found = becomes(project, name, "Running")
    healthy = next(c for c in found["conditions"] if c["type"] == "Healthy")
    assert healthy["status"] == "True"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("http-404", "404"),
        ("tcp-closed", "refused"),
        ("times-out", "no answer within 0.1 s"),
        ("image-health", "of the image"),
    ],
)
def test_unhealthy(project: Project, name: str, words: str) -> None:
    found = becomes(project, name, "Unhealthy", "probes in a row failed")
    assert words in found["message"].lower()
    assert is_alive(project.pid(name))


def test_a_probe_that_times_out_leaves_nothing(project: Project) -> None:
    becomes(project, "times-out", "Unhealthy")
    left = project.sh("times-out", "ps -o args | grep -c '[s]leep 4321'", code=None)
    assert int(left) <= 1


def test_healthcheck_disabled(project: Project) -> None:
    for name in ("disabled", "none"):
        found = becomes(project, name, "Running")
        assert all(c["type"] != "Healthy" for c in found["conditions"])


def test_on_unhealthy_restart(project: Project) -> None:
    becomes(project, "restarted", "Running")
    before = project.pid("restarted")
    project.sh("restarted", "rm /dev/shm/ok")
    eventually(lambda: not is_alive(before), "it is stopped")
    assert becomes(project, "restarted", "Running")["restarts"] >= 1
    assert project.pid("restarted") != before
    assert any("unhealthy" in event["message"] for event in project.events("restarted"))


# --- depends_on ---------------------------------------------------------------------------------


def test_depends_on_waits(project: Project) -> None:
    project.settle(unready=(*UNREADY, "image-health", "restarted"))
    assert project.logs("after-job") == "/shared/done\n"
    assert project.logs("after-healthy") == "/shared/healthy\n"
    db = started_at(project.pid("db"))
    assert started_at(project.pid("after-started")) >= db
    assert started_at(project.pid("after-healthy")) > db


def test_a_dependency_that_failed_is_named(project: Project) -> None:
    found = becomes(project, "after-failing", "Waiting", "failing-job")
    assert "Failed" in found["message"]
    assert not any(container["pid"] for container in found["containers"])


def test_an_optional_dependency_holds_nothing_up(project: Project) -> None:
    becomes(project, "after-optional", "Running")


# --- profiles, pull_policy ----------------------------------------------------------------------


KEY = "lifecycle/container/tool"


def test_profiles(project: Project) -> None:
    assert "container/tool" not in project.refresh()
    tree = project.story.tree
    told = [
        project.story.setpoint("validate", tree, "-o", "json", *more) for more in ((), ("--profile", "debug"))
    ]
    assert [KEY in json.loads(text)["objects"] for text in told] == [False, True]


def test_pull_policy(project: Project) -> None:
    found = becomes(project, "no-image", "Waiting", "never/heard:of is not in the store")
    assert "setpoint image pull" in found["message"]
    becomes(project, "wants-image", "Waiting", "127.0.0.1:1: connection refused")
    becomes(project, "has-image", "Running")


# --- ensure, suspend, stopping ------------------------------------------------------------------

STOPPING = """\
services:
  polite:
    image: busybox:latest
    command:
      - sh
      - -c
      - |
        trap 'echo told by USR1; exit 7' USR1; trap 'echo told by TERM' TERM
        echo listens
        while :; do sleep 0.05; done
    stop_signal: {signal}
    ensure: {polite}
  stubborn:
    image: busybox:latest
    command: [sh, -c, "trap 'date +%s' TERM; echo listens; while :; do sleep 0.05; done"]
    stop_grace_period: 300ms
    ensure: {stubborn}
  held: {{image: "busybox:latest", command: [sleep, "{seconds}"], stop_signal: SIGKILL, suspend: {suspend}}}
"""


def stopping(**values: str) -> str:
    words = {
        "signal": "SIGUSR1",
        "polite": "running",
        "stubborn": "running",
        "suspend": "false",
    }
    return STOPPING.format(**{**words, "seconds": "1000", **values})


@pytest.fixture(scope="module")
def stops(shared_story: Story) -> Project:
    found = Project(shared_story, "stops")
    found.apply(stopping())
    return found


def test_ensure_stopped_and_the_stop_signal(stops: Project) -> None:
    stops.apply(stopping())
    before = stops.container("polite")["id"]
    pid = stops.pid("polite")
    eventually(lambda: "listens" in stops.logs("polite"), "it has set its trap")
    stops.apply(stopping(polite="stopped"))
    assert not is_alive(pid)
    assert stops.object("polite")["phase"] == "Stopped"
    assert "told by USR1" in stops.logs("polite")
    assert stops.container("polite")["id"] == before
    stops.apply(stopping())
    assert stops.container("polite")["id"] == before
    assert is_alive(stops.pid("polite"))


def test_stop_grace_period(stops: Project) -> None:
    stops.apply(stopping())
    pid = stops.pid("stubborn")
    eventually(lambda: "listens" in stops.logs("stubborn"), "it has set its trap")
    stops.apply(stopping(stubborn="stopped"))
    assert not is_alive(pid)
    told_at = int(stops.logs("stubborn").split()[-1])  # in its own words, in whole seconds
    assert 0.3 <= stops.container("stubborn")["finished_at"] - told_at < 8  # ten, if it were not said


def test_ensure_absent(stops: Project) -> None:
    stops.apply(stopping())
    pid = stops.pid("polite")
    stops.apply(stopping(polite="absent"))
    assert not is_alive(pid)
    assert stops.object("polite")["containers"] == []
    stops.apply(stopping())
    assert is_alive(stops.pid("polite"))


def test_suspend(stops: Project) -> None:
    stops.apply(stopping())
    pid = stops.pid("held")
    stops.commit(stopping(suspend="true", seconds="2000"))
    eventually(lambda: stops.refresh()["container/held"]["phase"] == "Suspended", "it is suspended")
    assert (stops.proc("held") / "cmdline").read_bytes() == b"sleep\x001000\x00"
    os.kill(pid, signal.SIGKILL)
    stops.story.setpoint("sync")
    assert not any(c["pid"] for c in stops.refresh()["container/held"]["containers"])
    stops.apply(stopping(seconds="2000"))
    assert (stops.proc("held") / "cmdline").read_bytes() == b"sleep\x002000\x00"
