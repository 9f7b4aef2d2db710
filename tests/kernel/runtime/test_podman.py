"""Another engine drives the native runtime: podman, with `setpoint oci` as its --runtime."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime import cgroups

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("podman") is None, reason="podman is not installed"),
]
REPOSITORY = Path(__file__).parents[3]
Podman = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def podman(tmp_path_factory: pytest.TempPathFactory, busybox: Path) -> Iterator[Podman]:
    place = tmp_path_factory.mktemp("podman")
    parent = f"t{secrets.token_hex(4)}"
    runtime = place / "runtime"
    runtime.write_text(
        f'#!/bin/sh\nPYTHONPATH={REPOSITORY} exec {sys.executable} -m agent.cli.oci --root {place}/oci "$@"\n'
    )
    runtime.chmod(0o755)
    options = [
        "podman", "--root", f"{place}/root", "--runroot", f"{place}/run", "--tmpdir", f"{place}/tmp",
        "--runtime", runtime, "--cgroup-manager", "cgroupfs", "--storage-driver", "vfs",
        "--log-level", "error",
    ]  # fmt: skip

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        placed = [*words[:1], "--cgroup-parent", f"/{parent}", *words[1:]] if words[0] == "run" else words
        return subprocess.run(
            [*options, *placed], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment
        )

    archive = subprocess.run(["tar", "-C", busybox, "-c", "."], check=True, capture_output=True).stdout
    subprocess.run([*options, "import", "-", "box"], input=archive, check=True, capture_output=True)
    yield run
    run("rm", "-f", "-t", "0", "-a")
    run("system", "reset", "-f")
    with suppress(Exception):
        cgroups.delete(f"/{parent}")


def test_run(podman: Podman) -> None:
    done = podman("run", "--rm", "--network", "none", "box", "sh", "-c", "id -u; echo $$; exit 5")
    assert (done.returncode, done.stdout) == (5, "0\n1\n"), done.stderr


def test_a_missing_program_is_127(podman: Podman) -> None:
    assert podman("run", "--rm", "--network", "none", "box", "nope").returncode == 127


def test_hardened(podman: Podman) -> None:
    options = ("--user", "7:8", "--cap-drop", "all", "--read-only", "--security-opt", "no-new-privileges")
    script = "id -u; id -g; grep -E 'CapBnd|NoNewPrivs|Seccomp:' /proc/self/status; touch /x || echo ro"
    done = podman("run", "--rm", "--network", "none", *options, "box", "sh", "-c", script)
    assert done.stdout.split() == [
        "7", "8", "CapBnd:", "0" * 16, "NoNewPrivs:", "1", "Seccomp:", "2", "ro",
    ], done.stderr  # fmt: skip


def test_terminal(podman: Podman) -> None:
    done = podman("run", "--rm", "-t", "--network", "none", "box", "tty")
    assert done.stdout.strip() == "/dev/pts/0", done.stderr


def test_a_life_in_the_background(podman: Podman) -> None:
    assert podman("run", "-d", "--name", "one", "--network", "none", "box", "sleep", "1000").returncode == 0
    assert podman("exec", "one", "hostname").stdout.strip()
    assert podman("exec", "one", "sh", "-c", "exit 4").returncode == 4
    assert podman("exec", "-t", "one", "tty").stdout.strip() == "/dev/pts/0"
    assert "sleep 1000" in podman("top", "one").stdout
    podman("pause", "one")
    assert podman("inspect", "one", "--format", "{{.State.Status}}").stdout.strip() == "paused"
    podman("unpause", "one")
    podman("kill", "one")
    assert podman("wait", "one").stdout.strip() == "137"
    assert podman("rm", "one").returncode == 0
