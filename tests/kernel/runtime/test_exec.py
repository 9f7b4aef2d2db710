"""A further process in a running container: the same namespaces, limits and rights as the first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.errors import NotFound
from runtime.supervisor.exec_plan import plan_exec
from runtime.supervisor.launch import ExecRequest, launch_exec, receive
from tests.kernel.runtime.conftest import Box, messages_of


def test_it_joins_every_namespace_and_cgroup(box: Box) -> None:
    launched = box.start("sleep", "1000")
    names = ("mnt", "pid", "ipc", "uts", "net", "cgroup", "user")
    script = "; ".join(f"readlink /proc/self/ns/{name}" for name in names)
    found = box.exec(launched, "sh", "-c", script)
    expected = [str(Path(f"/proc/{launched.pid}/ns/{name}").readlink()) for name in names]
    assert found.output.split() == expected
    inside = box.exec(launched, "cat", "/proc/self/cgroup").output
    assert all(line.endswith(":/") for line in inside.split())


def test_the_first_process_sees_it_as_its_neighbour(box: Box) -> None:
    launched = box.start("sleep", "1000")
    assert "sleep 1000" in box.exec(launched, "ps").output


@pytest.mark.parametrize(
    ("argv", "status"), [(["sh", "-c", "exit 9"], 9), (["nope"], 127), (["/etc/passwd"], 126)]
)
def test_statuses(box: Box, argv: list[str], status: int) -> None:
    launched = box.start("sleep", "1000")
    found = box.exec(launched, *argv)
    assert found.status == status
    assert bool(found.error) == (status > 125)


def test_user_directory_and_environment_of_its_own(box: Box) -> None:
    launched = box.start("sleep", "1000")
    user = {"uid": 0, "gid": 0, "username": "web"}
    found = box.exec(
        launched, "sh", "-c", "id -un; pwd; echo $X $HOME", user=user, cwd="/tmp", env=["PATH=/bin", "X=y"]
    )
    assert found.output.split() == ["web", "/tmp", "y", "/srv"]


def test_a_leaked_descriptor_is_no_working_directory(box: Box) -> None:
    launched = box.start("sleep", "1000")
    for number in range(3, 12):
        found = box.exec(launched, "pwd", cwd=f"/proc/self/fd/{number}")
        assert found.status == 125, found
    assert box.exec(launched, "ls", "/proc/self/fd").output.split() == ["0", "1", "2", "3"]


def test_a_terminal(box: Box) -> None:
    launched = box.start("sleep", "1000")
    process = {
        **box.config["process"], "terminal": True, "consoleSize": {"height": 10, "width": 20},
        "args": ["sh", "-c", "tty; stty size"],
    }  # fmt: skip
    child = launch_exec(ExecRequest(launched.pid, launched.pidfd, plan_exec(box.config, process)))
    box.running.append(child)
    message = receive(child.channel)
    assert message is not None and message.descriptor >= 0
    assert messages_of(child) == []
    output = b""
    while True:
        try:
            output += os.read(message.descriptor, 4096)
        except OSError:
            break
    os.close(message.descriptor)
    assert output.split() == [b"/dev/pts/0", b"10", b"20"]
    os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    box.forget(child)


def test_a_terminal_over_a_replaced_devpts_is_refused(box: Box) -> None:
    """Root inside puts a file, or a link, where the multiplexer was."""
    box.config["process"]["capabilities"] = {
        key: ["CAP_SYS_ADMIN", "CAP_MKNOD"] for key in ("bounding", "effective", "permitted")
    }
    launched = box.start(
        "sh", "-c", "mount -t tmpfs x /dev/pts; mknod /dev/pts/ptmx c 5 2; touch /ok; sleep 1000"
    )
    while not (box.place / "upper/ok").exists():
        pass
    process = {**box.config["process"], "terminal": True}
    child = launch_exec(ExecRequest(launched.pid, launched.pidfd, plan_exec(box.config, process)))
    box.running.append(child)
    messages = messages_of(child)
    assert "error" in messages[-1] and "terminal" in messages[-1]["error"]["op"]
    os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    box.forget(child)


def test_into_a_container_that_has_ended(box: Box) -> None:
    launched = box.start("sleep", "1000")
    os.kill(launched.pid, 9)
    os.waitid(os.P_PIDFD, launched.pidfd, os.WEXITED | os.WNOWAIT)
    with pytest.raises(NotFound):
        launch_exec(ExecRequest(launched.pid, launched.pidfd, plan_exec(box.config, box.config["process"])))


def test_the_parent_stays_where_it_was(box: Box) -> None:
    launched = box.start("sleep", "1000")
    box.exec(launched, "true")
    pid = os.fork()
    if pid == 0:
        own = str(Path("/proc/self/ns/pid").readlink())
        os._exit(own != str(Path(f"/proc/{os.getppid()}/ns/pid").readlink()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
