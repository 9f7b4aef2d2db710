"""The program, or its Python, is upgraded under what runs: the next `agent --detach`, which is in ops/up, has
agent and supervisor be what is on the disk now, and containers run on."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

from tests.e2e.story import ROOT, Story, is_alive

SERVICE = "services:\n  web: {image: busybox, command: [sleep, '1000'], restart: always}\n"


def test_agent_and_supervisor_become_what_is_there_now(
    quiet_story: Story, busybox_archive: Path, tmp_path: Path
) -> None:
    story, python = quiet_story, _environment(tmp_path / "venv")
    _detach(story, python, "--profile", "p")
    story.setpoint("image", "load", busybox_archive)
    story.apply({"shop/compose.yaml": SERVICE})
    agent, supervisor = _who(story.layout.agent_socket), _who(story.layout.supervisor_socket)
    (web,) = _pids(story)

    said = _detach(story, python)
    assert said == f"agent runs already (pid {agent})\n" and not story.said
    _detach(story, python, "--profile", "q")
    assert "it stays without these: --profile" in story.said and _who(story.layout.agent_socket) == agent

    python.unlink()
    shutil.copy2(os.path.realpath(sys.executable), python)
    assert "program has been upgraded since" in story.setpoint("version")
    said = _detach(story, python)
    assert "it starts anew" in said and not is_alive(agent)
    renewed = _who(story.layout.agent_socket)
    assert renewed != agent
    assert b"--profile\0p\0" in Path(f"/proc/{renewed}/cmdline").read_bytes()
    assert _who(story.layout.supervisor_socket) == supervisor
    assert _pids(story) == [web]
    assert story.setpoint("exec", "shop/web", "echo", "in it") == "in it\n"
    story.apply({"shop/compose.yaml": SERVICE.replace("1000", "2000")})
    assert _pids(story) != [web]
    assert "upgraded" not in story.setpoint("version")


def _detach(story: Story, python: Path, *words: str) -> str:
    """`setpoint agent --detach` by this Python; what it says on standard error is in `story.said`."""
    command: list[str | Path] = [python, "-I", "-m", "agent.cli", "agent", "--detach", "--watch", story.tree]
    done = subprocess.run(
        [*command, "--metrics", "127.0.0.1:0", *words], env=story.environment, cwd="/",
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    story.said = done.stderr
    return str(done.stdout)


def _environment(folder: Path) -> Path:
    """Its Python, of a virtual environment that has what this one has."""
    (folder / "bin").mkdir(parents=True)
    shutil.copy(ROOT / ".venv/pyvenv.cfg", folder)
    (folder / "lib").symlink_to(ROOT / ".venv/lib")
    python = folder / "bin/python"
    python.symlink_to(os.path.realpath(sys.executable))
    return python


def _who(path: Path) -> int:
    """Who listens there (SO_PEERCRED, unix(7))."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(str(path))
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int(struct.unpack("3i", credentials)[0])


def _pids(story: Story) -> list[int]:
    found = story.object("shop/container/web") or {}
    return [each["pid"] for each in found["containers"]]
