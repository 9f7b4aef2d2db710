"""Compose v2 against the socket, as people use it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.host import Host
from tests.e2e.story import eventually

FILE = """
services:
  web:
    image: busybox
    command: ["sh", "-c", "echo web is up; exec httpd -f -p 80 -h /data"]
    init: true
    ports: ["127.0.0.1::80"]
    volumes: ["data:/data"]
    environment: {GREETING: "${GREETING:-one}"}
    networks: [front, back]
    depends_on: {db: {condition: service_healthy}}
  db:
    image: busybox
    command: ["sh", "-c", "touch /ready; exec sleep 1000"]
    init: true
    networks: {back: {aliases: [database]}}
    healthcheck: {test: [CMD, test, -e, /ready], interval: 100ms}
  tool:
    image: busybox
    profiles: [tools]
    command: ["sleep", "1000"]
    init: true
networks: {front: {}, back: {internal: true}}
volumes: {data: {}}
"""


@pytest.fixture
def project(host: Host, tmp_path: Path, name: str) -> Any:
    """A folder with a compose file, whose name is the project's; taken down at the end."""
    folder = tmp_path / name
    folder.mkdir()
    (folder / "compose.yaml").write_text(FILE)
    yield folder
    host.compose(folder, "--profile", "*", "down", "-v", "-t", "0", "--remove-orphans", check=False)
    left = host.docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={name}").stdout
    assert left == ""


def services(host: Host, folder: Path, *words: str) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in host.compose(folder, "ps", "--format", "json", *words).stdout.splitlines():
        row = json.loads(line)
        found.setdefault(row["Service"], []).append(row)
    return found


def test_up_and_down(host: Host, project: Path) -> None:
    done = host.compose(project, "up", "-d", "--wait")
    assert "Healthy" in done.stderr
    running = services(host, project)
    assert set(running) == {"web", "db"} and running["db"][0]["Health"] == "healthy"
    assert all(row["State"] == "running" for rows in running.values() for row in rows)
    said = host.compose(project, "exec", "-T", "web", "ping", "-c1", "database").stdout
    assert "1 packets received" in said
    assert "web is up" in host.compose(project, "logs", "--no-color", "web").stdout
    address = host.compose(project, "port", "web", "80").stdout.strip()
    assert address.startswith("127.0.0.1:")
    again = host.compose(project, "up", "-d").stderr
    assert "Recreate" not in again and "Creat" not in again
    ids = {row["ID"] for rows in services(host, project).values() for row in rows}
    assert ids == {row["ID"] for rows in running.values() for row in rows}
    host.compose(project, "down", "-t", "0")
    names = host.docker("volume", "ls", "-q").stdout.split()
    assert f"{project.name}_data" in names
    assert project.name not in host.docker("network", "ls", "--format", "{{.Name}}").stdout
    host.compose(project, "down", "-v")
    assert f"{project.name}_data" not in host.docker("volume", "ls", "-q").stdout.split()


def test_what_changed_is_recreated_and_nothing_else(host: Host, project: Path) -> None:
    host.compose(project, "up", "-d", "--wait")
    before = {service: rows[0]["ID"] for service, rows in services(host, project).items()}
    host.compose(project, "exec", "-T", "web", "sh", "-c", "echo kept > /data/file")
    host.compose(project, "up", "-d", "--wait", env={"GREETING": "two"})
    after = {service: rows[0] for service, rows in services(host, project).items()}
    assert after["db"]["ID"] == before["db"] and after["web"]["ID"] != before["web"]
    assert after["web"]["Name"] == f"{project.name}-web-1"
    said = host.compose(project, "exec", "-T", "web", "sh", "-c", "echo $GREETING; cat /data/file").stdout
    assert said.split() == ["two", "kept"]


def test_scale_orphans_and_profiles(host: Host, project: Path) -> None:
    host.compose(project, "up", "-d", "--scale", "db=3")
    assert len(services(host, project)["db"]) == 3
    host.compose(project, "scale", "db=1")
    assert len(services(host, project)["db"]) == 1
    host.compose(project, "--profile", "tools", "up", "-d")
    assert "tool" in services(host, project)
    (project / "compose.yaml").write_text(FILE.replace("  tool:", "  other:"))
    host.compose(project, "--profile", "tools", "up", "-d", "--remove-orphans")
    assert set(services(host, project)) == {"web", "db", "other"}


def test_run_exec_cp_restart_kill(host: Host, project: Path, tmp_path: Path) -> None:
    host.compose(project, "up", "-d", "--wait")
    assert host.compose(project, "run", "--rm", "-T", "tool", "echo", "once").stdout == "once\n"
    failed = host.compose(project, "run", "--rm", "-T", "tool", "sh", "-c", "exit 9", check=False)
    assert failed.returncode == 9
    (tmp_path / "file").write_text("content")
    host.compose(project, "cp", tmp_path / "file", "web:/data/file")
    assert host.compose(project, "exec", "-T", "web", "cat", "/data/file").stdout == "content"
    host.compose(project, "cp", "web:/data/file", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "content"
    [before] = services(host, project)["web"]
    host.compose(project, "restart", "-t", "0", "web")
    [after] = services(host, project)["web"]
    assert before["ID"] == after["ID"] and after["State"] == "running"
    host.compose(project, "pause", "web")
    assert services(host, project)["web"][0]["State"] == "paused"
    host.compose(project, "unpause", "web")
    host.compose(project, "kill", "web")
    assert services(host, project, "-a")["web"][0]["State"] == "exited"
    host.compose(project, "stop", "-t", "0")
    host.compose(project, "start")
    assert set(services(host, project)) == {"web", "db"}
    assert "sleep" in host.compose(project, "top", "db").stdout
    assert project.name in host.compose(project, "ls", "--format", "json").stdout


def test_events_of_a_project(host: Host, project: Path) -> None:
    with subprocess.Popen(
        ["docker", "compose", "events", "--json"], cwd=project, env=host.environment,
        stdout=subprocess.PIPE, text=True,
    ) as events:  # fmt: skip
        try:
            assert events.stdout is not None
            deadline = time.monotonic() + 30
            seen: set[str] = set()
            host.compose(project, "up", "-d", "db")
            while "start" not in seen and time.monotonic() < deadline:
                host.compose(project, "restart", "-t", "0", "db")
                seen.add(json.loads(events.stdout.readline())["action"])
        finally:
            events.kill()
    assert "start" in seen


ORDERED = """
services:
  first:
    image: busybox
    command: [sh, -c, "echo made > /data/file; exit ${CODE:-0}"]
    volumes: ["data:/data"]
  then:
    image: busybox
    command: [cat, /data/file]
    volumes: ["data:/data"]
    depends_on: {first: {condition: service_completed_successfully}}
volumes: {data: {}}
"""


def test_what_has_to_be_done_first_is(host: Host, project: Path) -> None:
    (project / "compose.yaml").write_text(ORDERED)
    assert "made" in host.compose(project, "up", "--no-color").stdout
    host.compose(project, "down", "-v")
    failed = host.compose(project, "up", "-d", env={"CODE": "4"}, check=False)
    assert failed.returncode and "didn't complete successfully: exit 4" in failed.stderr
    assert services(host, project, "-a")["then"][0]["State"] == "created"


@contextlib.contextmanager
def beside(host: Host, folder: Path, *words: str, stdout: Any) -> Iterator[subprocess.Popen[bytes]]:
    """`docker compose` while something else is done; ended with the block."""
    process = subprocess.Popen(
        ["docker", "compose", "--ansi", "never", *words], cwd=folder, env=host.environment,
        stdout=stdout, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_wait_stats_followed_logs_and_rm(host: Host, project: Path) -> None:
    script = "echo begun; while [ ! -e /stop ]; do sleep 0.05; done; echo ended; exit 6"
    service = {"image": "busybox", "command": ["sh", "-c", script], "init": True}
    (project / "compose.yaml").write_text(json.dumps({"services": {"job": service}}))
    host.compose(project, "up", "-d")
    shown = json.loads(host.compose(project, "stats", "--no-stream", "--format", "json").stdout)
    assert shown["Name"] == f"{project.name}-job-1" and shown["PIDs"] != "0"
    log = project / "log"
    with (
        log.open("w") as output,
        beside(host, project, "logs", "-f", "--no-log-prefix", "job", stdout=output) as logs,
        beside(host, project, "wait", "job", stdout=subprocess.DEVNULL) as waiting,
    ):
        eventually(lambda: "begun" in log.read_text(), "its log is followed")
        host.compose(project, "exec", "-T", "job", "touch", "/stop")
        assert waiting.wait(30) == 6 and logs.wait(30) == 0
        assert "ended" in log.read_text()
    host.compose(project, "rm", "-f", "job")
    assert services(host, project, "-a") == {}


def test_attached_up_ends_with_the_containers(host: Host, project: Path) -> None:
    (project / "compose.yaml").write_text(
        "services: {job: {image: busybox, command: [sh, -c, 'echo working; exit 4']}}\n"
    )
    done = host.compose(project, "up", "--exit-code-from", "job", check=False)
    assert done.returncode == 4 and "working" in done.stdout


def test_watch_brings_changed_files_in(host: Host, project: Path) -> None:
    source = project / "src"
    source.mkdir()
    (source / "page").write_text("first")
    (project / "compose.yaml").write_text(
        "services:\n  web:\n    image: busybox\n    build: .\n    command: [sleep, '1000']\n"
        "    develop: {watch: [{action: sync, path: ./src, target: /page}]}\n"
    )
    (project / "Dockerfile").write_text("FROM busybox\nRUN mkdir /page\n")
    host.compose(project, "up", "-d", "--no-build", "--pull", "never")
    log = project / "watch.log"
    with log.open("w") as output, subprocess.Popen(
        ["docker", "compose", "watch", "--no-up"], cwd=project, env=host.environment,
        stdout=output, stderr=output,
    ) as watching:  # fmt: skip
        try:
            eventually(lambda: "atch" in log.read_text(), "it watches")

            written_at = 0.0

            def is_synced() -> bool:
                nonlocal written_at
                if (
                    time.monotonic() > written_at + 3.0
                ):  # it waits until a file was left alone for half a second
                    (source / "page").write_text("second")
                    written_at = time.monotonic()
                shown = host.compose(project, "exec", "-T", "web", "cat", "/page/page", check=False)
                return shown.stdout == "second"

            eventually(is_synced, "the file is in the container")
        finally:
            watching.terminate()


def test_watch_builds_anew_what_the_image_is_made_of(host: Host, project: Path) -> None:
    page = project / "page"
    page.write_text("first")
    (project / "compose.yaml").write_text(
        "services:\n  web:\n    build: .\n    command: [sleep, '1000']\n    stop_signal: SIGKILL\n"
        "    develop: {watch: [{action: rebuild, path: ./page}]}\n"
    )
    (project / "Dockerfile").write_text("FROM busybox\nCOPY page /page\n")
    host.compose(project, "up", "-d", "--build")
    before = services(host, project)["web"][0]["ID"]
    log = project / "watch.log"
    with log.open("w") as output, beside(host, project, "watch", "--no-up", stdout=output):
        written_at = 0.0

        def is_built() -> bool:
            nonlocal written_at
            if time.monotonic() > written_at + 10.0:  # the watch may begin after the first
                page.write_text("second")
                written_at = time.monotonic()
            shown = host.compose(project, "exec", "-T", "web", "cat", "/page", check=False)
            return shown.stdout == "second"

        eventually(is_built, "it is built and made anew", seconds=60)
    assert [each["ID"] for each in services(host, project)["web"]] != [before]
    host.compose(project, "down", "-t", "0", "--rmi", "local")
