"""What the supervisor tells systemd, and what it does not tell when it is not the one that is asked."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.cleanup import remove_instance
from runtime.layout import Layout

PROGRAM = Path(__file__).resolve().parents[3] / "runtime/supervisor/main.py"


def start(layout: Layout, manager: Path, **environment: str) -> subprocess.Popen[bytes]:
    layout.run.mkdir()
    command = [
        sys.executable, "-I", "-S", str(PROGRAM), "--foreground",
        "--socket", str(layout.supervisor_socket), "--run", str(layout.run_containers),
    ]  # fmt: skip
    return subprocess.Popen(
        command, env={"NOTIFY_SOCKET": str(manager), "WATCHDOG_USEC": "100000", **environment}
    )


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.bind(str(tmp_path / "notify"))
    made.settimeout(20)
    return made


def test_signs_of_life_end_when_it_hangs(instance: Layout, manager: socket.socket, tmp_path: Path) -> None:
    with start(instance, tmp_path / "notify") as supervisor, manager:
        for _ in range(3):
            assert manager.recv(4096) == b"WATCHDOG=1"
        supervisor.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, supervisor.pid, os.WSTOPPED | os.WNOWAIT)
        manager.settimeout(0.5)  # five signs
        with pytest.raises(TimeoutError):
            while True:
                manager.recv(4096)
        supervisor.kill()
    remove_instance(instance)


def test_signs_of_life_go_on_when_it_has_executed_itself_anew(
    instance: Layout, manager: socket.socket, tmp_path: Path
) -> None:
    with start(instance, tmp_path / "notify") as supervisor, manager:
        assert manager.recv(4096) == b"WATCHDOG=1"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(instance.supervisor_socket))
            for op in ("reexec", "ping"):
                body = json.dumps({"id": 1, "op": op}).encode()
                client.sendall(struct.pack("!I", len(body)) + body)
                answer = client.recv(4096)
        assert b"executed_at" in answer and supervisor.poll() is None
        manager.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                manager.recv(4096)  # what was told before
        manager.settimeout(20)
        assert manager.recv(4096) == b"WATCHDOG=1"
        supervisor.kill()
    remove_instance(instance)


def test_what_a_service_starts_is_silent(instance: Layout, manager: socket.socket, tmp_path: Path) -> None:
    """It inherits the environment of the agent, whose watchdog it is."""
    with start(instance, tmp_path / "notify", WATCHDOG_PID="1") as supervisor, manager:
        while not instance.supervisor_socket.exists():
            assert supervisor.poll() is None
        manager.settimeout(0.5)
        with pytest.raises(TimeoutError):
            manager.recv(4096)
        supervisor.kill()
    remove_instance(instance)
