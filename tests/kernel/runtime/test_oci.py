"""The OCI command line as other engines drive it, one process a command, and beside runc."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from runtime import cgroups
from runtime.layout import Layout
from tests.kernel.runtime.conftest import make_busybox

REPOSITORY = Path(__file__).parents[3]
PROGRAMS = ("sh", "sleep", "cat", "tty", "grep", "id", "hostname", "ls", "ps", "head", "cut", "touch", "wc")
Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def bundle(tmp_path: Path, instance: Layout) -> Iterator[Path]:
    place = tmp_path / "bundle"
    place.mkdir()
    (place / "rootfs").mkdir()
    make_busybox(place / "rootfs", PROGRAMS)
    subprocess.run([sys.executable, "-m", "agent.cli.oci", "spec", "-b", place], cwd=REPOSITORY, check=True)
    change(place, terminal=False, args=["sleep", "1000"], rlimits=[])
    config = json.loads((place / "config.json").read_text())
    config["linux"]["cgroupsPath"] = f"/{instance.cgroup_parent}/box"
    (place / "config.json").write_text(json.dumps(config))
    yield place
    for path in (f"/{instance.cgroup_parent}/box", f"/{instance.cgroup_parent}"):
        cgroups.kill(path)
        with suppress(Exception):
            cgroups.delete(path)


def change(bundle: Path, **process: Any) -> None:
    path = bundle / "config.json"
    config = json.loads(path.read_text())
    config["process"] |= process
    path.write_text(json.dumps(config))


@pytest.fixture
def oci(tmp_path: Path, bundle: Path) -> Iterator[Command]:
    root = tmp_path / "state"
    output = tmp_path / "output"

    def run(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        with output.open("w+") as file:
            done = subprocess.run(
                [sys.executable, "-m", "agent.cli.oci", "--root", root, "--log", tmp_path / "log",
                 "--log-format", "json", *words],
                cwd=REPOSITORY, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, text=True,
            )  # fmt: skip
        done.stdout = output.read_text()
        assert not check or done.returncode == 0, done.stdout
        return done

    yield run
    for id in list(root.iterdir()) if root.exists() else []:
        run("delete", "--force", id.name, check=False)


def status(oci: Command, id: str) -> str:
    found: str = json.loads(oci("state", id).stdout)["status"]
    return found


def wait_for(oci: Command, id: str, wanted: str) -> None:
    for _ in range(100):
        if status(oci, id) == wanted:
            return
    pytest.fail(f"{id} is not {wanted}")


def test_a_whole_life(oci: Command, bundle: Path, tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    oci("create", "-b", str(bundle), "--pid-file", str(pid_file), "one")
    state = json.loads(oci("state", "one").stdout)
    assert state["status"] == "created" and state["pid"] == int(pid_file.read_text())
    assert state["bundle"] == str(bundle) and state["ociVersion"] == "1.2.0"
    oci("start", "one")
    assert status(oci, "one") == "running"
    assert json.loads(oci("ps", "--format", "json", "one").stdout) == [state["pid"]]
    assert oci("exec", "one", "sh", "-c", "exit 6", check=False).returncode == 6
    oci("pause", "one")
    assert status(oci, "one") == "paused"
    oci("resume", "one")
    oci("update", "--pids-limit", "9", "one")
    assert oci("delete", "one", check=False).returncode == 1
    oci("kill", "one", "KILL")
    wait_for(oci, "one", "stopped")
    oci("delete", "one")
    assert json.loads((tmp_path / "log").read_text().splitlines()[-1])["level"] == "error"
    assert "does not exist" in oci("state", "one", check=False).stdout


def is_read_only(pid: int) -> bool:
    return bool(os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY)


@pytest.mark.parametrize(
    "launcher", [["-m", "agent.cli.oci"], ["-m", "agent.cli", "oci"]], ids=["module", "verb"]
)
def test_a1_what_is_forked_into_a_container_runs_from_a_read_only_mount(
    oci: Command, bundle: Path, tmp_path: Path, launcher: list[str]
) -> None:
    """As the supervisor does: see tests/threats/test_a01."""
    command = [sys.executable, *launcher, "--root", str(tmp_path / "state")]
    subprocess.run(
        [*command, "create", "-b", bundle, "one"], cwd=REPOSITORY, check=True, stdin=subprocess.DEVNULL
    )
    waits = json.loads(oci("state", "one").stdout)["pid"]
    assert is_read_only(waits)
    oci("start", "one")
    with subprocess.Popen(
        [*command, "exec", "one", "sh", "-c", "read x"], cwd=REPOSITORY, stdin=subprocess.PIPE
    ) as entering:
        assert entering.stdin is not None
        pids = ["ps", "--format", "json", "one"]
        while len(json.loads(oci(*pids).stdout)) < 2:
            assert entering.poll() is None
        assert is_read_only(entering.pid)
        entering.stdin.write(b"\n")
    assert entering.returncode == 0


def test_run_gives_output_and_status(oci: Command, bundle: Path) -> None:
    change(bundle, args=["sh", "-c", "echo hello; exit 9"])
    done = oci("run", "-b", str(bundle), "one", check=False)
    assert (done.returncode, done.stdout) == (9, "hello\n")
    assert oci("list", "-q").stdout == ""


def test_a_failed_create_leaves_nothing(oci: Command, bundle: Path, instance: Layout) -> None:
    change(bundle, args=["nope"])
    done = oci("create", "-b", str(bundle), "one", check=False)
    assert done.returncode == 1 and "not found in $PATH" in done.stdout
    assert oci("list", "-q").stdout == ""
    assert cgroups.existing(f"/{instance.cgroup_parent}/box") == ()


@pytest.mark.parametrize("id", ["..", "a/b", "", "x" * 300, "a b", "."])
def test_an_id_is_a_plain_name(oci: Command, bundle: Path, id: str) -> None:
    assert oci("create", "-b", str(bundle), id, check=False).returncode == 1


def test_an_id_is_taken_once(oci: Command, bundle: Path) -> None:
    oci("create", "-b", str(bundle), "one")
    assert "in use" in oci("create", "-b", str(bundle), "one", check=False).stdout


def test_hooks_run_in_their_order_with_the_state(oci: Command, bundle: Path, tmp_path: Path) -> None:
    names = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    trace = tmp_path / "trace"
    trace.mkdir()
    script = tmp_path / "hook"
    script.write_text(f'#!/bin/sh\necho "$1 $(cat)" >> {trace}/log\n')
    script.chmod(0o755)
    inside = bundle / "rootfs/hook"
    inside.write_text('#!/bin/sh\necho "$1 $(cat)" >> /trace/log\n')
    inside.chmod(0o755)
    config = json.loads((bundle / "config.json").read_text())
    config["hooks"] = {
        name: [{"path": "/hook" if name == "startContainer" else str(script), "args": ["hook", name]}]
        for name in names
    }
    config["mounts"].append(
        {"destination": "/trace", "type": "bind", "source": str(trace), "options": ["rbind"]}
    )
    (bundle / "config.json").write_text(json.dumps(config))
    oci("create", "-b", str(bundle), "one")
    oci("start", "one")
    oci("delete", "--force", "one")
    lines = (trace / "log").read_text().splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == list(names)
    states = [json.loads(line.split(" ", 1)[1]) for line in lines]
    assert {state["id"] for state in states} == {"one"}
    assert [state["status"] for state in states] == [
        "creating", "creating", "creating", "created", "running", "stopped",
    ]  # fmt: skip


def test_a_failing_hook_stops_the_creation(oci: Command, bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    (bundle / "config.json").write_text(json.dumps(config))
    done = oci("create", "-b", str(bundle), "one", check=False)
    assert done.returncode == 1 and "createRuntime" in done.stdout
    assert oci("list", "-q").stdout == ""


def test_a_console_socket_gets_the_terminal(oci: Command, bundle: Path, tmp_path: Path) -> None:
    change(bundle, terminal=True, args=["tty"])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen(1)
        oci("create", "-b", str(bundle), "--console-socket", str(tmp_path / "console"), "one")
        connection, _ = listener.accept()
        with connection:
            _, descriptors, _, _ = socket.recv_fds(connection, 4096, 1)
    oci("start", "one")
    output = b""
    with suppress(OSError):
        while data := os.read(descriptors[0], 4096):
            output += data
    os.close(descriptors[0])
    assert output == b"/dev/pts/0\r\n"


def test_systemd_cgroups_are_refused(oci: Command) -> None:
    assert "not supported" in oci("--systemd-cgroup", "list", check=False).stdout


PROBES = {
    "capabilities": "grep -E 'Cap(Inh|Prm|Eff|Bnd|Amb)' /proc/self/status",
    "identity": "id; umask; pwd; hostname",
    "limits": "ulimit -n; cat /proc/self/oom_score_adj",
    "devices": "cd /dev; ls -1 | grep -v core",
    "descriptors": "ls /proc/self/fd",
    "namespaces": "ps -o pid,comm | head -2; cat /proc/self/setgroups",
    "privileges": "grep -E 'NoNewPrivs|Groups' /proc/self/status",
    "session": "echo $$; cat /proc/$$/stat | cut -d' ' -f5,6",
    "readonly": "touch /x /proc/sys/x 2>&1; cat /proc/keys | wc -c",
}


@pytest.mark.skipif(shutil.which("runc") is None, reason="runc is not installed")
@pytest.mark.parametrize("probe", PROBES)
def test_a_program_sees_what_it_sees_under_runc(
    oci: Command, bundle: Path, tmp_path: Path, instance: Layout, probe: str
) -> None:
    change(bundle, args=["sh", "-c", PROBES[probe]], env=["PATH=/bin"])
    ours = oci("run", "-b", str(bundle), "ours", check=False)
    theirs = subprocess.run(
        ["runc", "--root", tmp_path / "runc", "run", "-b", bundle, f"theirs-{os.getpid()}"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    with suppress(OSError):  # runc leaves the parent it made in systemd's own hierarchy
        Path("/sys/fs/cgroup/systemd", instance.cgroup_parent).rmdir()
    assert ours.stdout == theirs.stdout
