"""Making sure that an instance's supervisor runs. Called by `client`; blocks for some 30 ms at most when
it has to start one.

Two starters may race: the supervisor's own lock decides, and both connect to the one that got it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path

from runtime.errors import Temporary
from runtime.layout import Layout
from runtime.supervisor import interpreter

MAIN = Path(__file__).with_name("main.py")
START_SECONDS = 10.0
# Set in the environment of an agent whose supervisor is a service of its own. One that the agent starts
# in the moment of that service's restart would hold the lock, and be in the agent's control group.
IS_A_SERVICE = "SETPOINT_SUPERVISOR_IS_A_SERVICE"


def raise_descriptor_limit() -> None:
    """As many open files as this process may have: the usual soft limit of 1024 is for programs that
    use select(2), and a few hundred containers need more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def connect(layout: Layout) -> socket.socket | None:
    """A connection to the running supervisor, or None if there is none."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(str(layout.supervisor_socket))
    except (FileNotFoundError, ConnectionRefusedError):
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    return sock


def ensure(layout: Layout) -> socket.socket:
    """A connection, to a supervisor that is started if need be, or waited for if it is a service.
    Temporary if it does not come up."""
    is_a_service = bool(os.environ.get(IS_A_SERVICE))
    deadline = time.monotonic() + START_SECONDS
    while True:
        sock = connect(layout)
        if sock is not None:
            return sock
        if time.monotonic() > deadline:
            where = "its service's journal" if is_a_service else layout.run / "supervisor.err"
            raise Temporary("start", "supervisor", "it does not answer", f"see {where}")
        if is_a_service or not _start(layout):
            time.sleep(0.005)  # the service or another starter is about to listen


def _start(layout: Layout) -> bool:
    """Start one and wait until it listens. False: it gave up, as another one has the lock."""
    layout.run.mkdir(mode=0o711, parents=True, exist_ok=True)
    program = interpreter.open_read_only()
    reader, writer = os.pipe2(os.O_CLOEXEC)
    try:
        command = [
            sys.executable, "-I", "-S", str(MAIN),
            "--socket", str(layout.supervisor_socket), "--run", str(layout.run_containers),
            "--cgroup", layout.cgroup_parent, "--ready", str(writer),
        ]  # fmt: skip
        process = subprocess.Popen(
            command, executable=f"/proc/self/fd/{program}", pass_fds=(writer, program),
            env=interpreter.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(writer)
        writer = -1
        process.wait()  # only until it has detached itself
        return os.read(reader, 16) != b""
    finally:
        os.close(program)
        os.close(reader)
        if writer >= 0:
            os.close(writer)
