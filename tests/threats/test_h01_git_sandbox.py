"""H1, H7: git itself taken over by what a server sent. A program in its place tries what it could then do."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.source import sandbox as sandboxes
from agent.source.git_program import run
from agent.source.sandbox import ALL_READ, Sandbox, reach_to_fetch
from agent.source.source import Unreadable
from runtime import cgroups, landlock
from runtime.layout import Layout
from tests.native import PATIENCE_SECONDS
from tests.threats.test_h07_git_server import program, write

__all__ = ["program"]
needs_landlock = pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock of use")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    path = tmp_path / "mirror"
    path.mkdir()
    return path


@pytest.fixture
def sandbox(instance: Layout) -> Iterator[Sandbox]:
    yield Sandbox(instance.git_cgroup)
    cgroups.kill(f"/{instance.git_cgroup}")
    cgroups.delete(f"/{instance.git_cgroup}")


def fetch(sandbox: Sandbox, mirror: Path, timeout_seconds: float = 30.0) -> str:
    reach = reach_to_fetch(mirror, None)
    return run(["fetch"], directory=mirror, sandbox=sandbox, reach=reach, timeout_seconds=timeout_seconds)


@needs_landlock
@pytest.mark.parametrize(
    "attempt",
    [
        "echo x >{canary}/new", "echo x >>{canary}/marker", "rm {canary}/marker", "mkdir {canary}/d",
        "mv {canary}/marker .", "ln {canary}/marker .", "cat {canary}/marker", "ls {canary}",
        "ln -s {canary} link; cat link/marker", "cat /etc/shadow", "cat /etc/ssh/ssh_host_ed25519_key",
        "cat /proc/1/environ", "mknod d b 8 0", "mkfifo f", "cat /dev/sda", "kill -0 {pid}",
        "chroot / true", "mount -t tmpfs none .", "ls /root", "ls /var/lib", "ls /run", "ls /tmp",
    ],
)  # fmt: skip
def test_h1_nothing_of_the_host_is_reached(
    program: Path, mirror: Path, canary: Path, sandbox: Sandbox, attempt: str
) -> None:
    if "kill" in attempt and landlock.version() < 6:
        pytest.skip("signals are held back from Linux 6.12 on")
    write(program, f"({attempt.format(canary=canary, pid=os.getpid())}) >got 2>&1 && echo done")
    with pytest.raises(Unreadable):
        assert "done" not in fetch(sandbox, mirror)
    assert "untouched" not in (mirror / "got").read_text()


@needs_landlock
def test_h1_what_git_needs_is_there(program: Path, mirror: Path, sandbox: Sandbox) -> None:
    script = """
    set -e
    mkdir a b; echo x >a/x; mv a/x b/y; ln b/y a/z; rm a/z; : >b/y; chmod 400 b/y
    cat /etc/resolv.conf /etc/passwd /dev/null >/dev/null; ls /usr/bin >/dev/null
    head -c1 /dev/urandom >/dev/null
    echo done
    """
    write(program, script)
    assert fetch(sandbox, mirror) == "done\n"


@needs_landlock
def test_h1_reading_a_repository_writes_nothing_and_calls_nobody(
    program: Path, tmp_path: Path, canary: Path, sandbox: Sandbox
) -> None:
    write(program, f"echo x >{canary}/new || cat {canary}/marker")
    assert run(["rev-parse"], directory=tmp_path, sandbox=sandbox, reach=ALL_READ) == "untouched"
    if landlock.version() < 4:
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = f"import socket; print(socket.socket().connect_ex(('127.0.0.1', {server.getsockname()[1]})))"
        write(program, f'exec python3 -c "{code}"')
        found = run(["rev-parse"], directory=tmp_path, sandbox=sandbox, reach=ALL_READ)
        assert int(found) == errno.EACCES


def test_h1_it_can_do_little_by_its_rights(program: Path, mirror: Path, sandbox: Sandbox) -> None:
    write(program, "cat /proc/self/status")
    reach = landlock.Reach(("/",), ("/dev/null",))
    found = run(["fetch"], directory=mirror, sandbox=sandbox, reach=reach)
    status = dict(line.split(":\t") for line in found.splitlines() if ":\t" in line)
    held = int(status["CapPrm"], 16) | int(status["CapEff"], 16)
    assert held & ~sandboxes.KEPT == 0 and status["NoNewPrivs"] == "1"
    assert "NoNewPrivs:\t0" in Path("/proc/self/status").read_text(), "the agent stays as it is"
    assert int(status["CapInh"], 16) == 0


def test_h7_it_grows_in_a_group_of_its_own(
    program: Path, mirror: Path, sandbox: Sandbox, instance: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandboxes, "MEMORY_BYTES", 48 << 20)
    write(program, "head -c 500000000 /dev/zero | tail -c 400000000 >/dev/null; exit $?")
    with pytest.raises(Unreadable, match=r"needed over .* MiB of memory"):
        fetch(sandbox, mirror, timeout_seconds=60)


def test_h7_it_forks_in_a_group_of_its_own(program: Path, mirror: Path, sandbox: Sandbox) -> None:
    script = "i=0; while [ $i -lt 200 ]; do sleep 20 & i=$((i+1)); done; echo done"
    write(program, f"({script}) 2>got; ls /proc/self/task | wc -l")
    with contextlib.suppress(Unreadable):
        fetch(sandbox, mirror, timeout_seconds=PATIENCE_SECONDS / 10)
    directory = next(
        Path(file).parent for file in sandbox._files() if (Path(file).parent / "pids.max").exists()
    )
    assert (directory / "pids.max").read_text().strip() == "64"
    assert int((directory / "pids.events").read_text().split()[1]) > 0
    assert int((directory / "pids.current").read_text()) <= 64


def test_h1_one_git_does_not_end_another(instance: Layout) -> None:
    """Of a source that is followed, and of a build: they share the groups."""
    first, second = (Sandbox(instance.git_cgroup) for _ in range(2))
    with first.start(["sleep", "1000"], ALL_READ) as long:
        with second.start(["true"], ALL_READ) as short:
            assert short.wait() == 0
        second.close()
        assert long.poll() is None
        first.close()
        assert long.wait() == -9
    assert not cgroups.existing(f"/{instance.git_cgroup}")


def test_h1_who_ends_a_git_does_not_end_itself(instance: Layout) -> None:
    """A thread that joined to start it is still there, as one of a source that is followed may be."""
    path = f"/{instance.git_cgroup}"
    agent = os.fork()
    if not agent:
        try:
            Sandbox(instance.git_cgroup)._join([], ALL_READ)  # it has one thread
            cgroups.kill(path)
        finally:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1]) == 7
    cgroups.delete(path)
