"""An ssh server on loopback, with keys of its own, and the `ssh` of one who may come in.

with ssh_server(folder, PATH="/somewhere") as server:        server.address  # ssh://root@127.0.0.1:40022
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import leaks
from tests.e2e.story import eventually, free_port

SSHD = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
EMPTIED = Path("/run/sshd")  # sshd(8) wants it, and its service makes it


@dataclass(frozen=True)
class Server:
    """bin: a directory for PATH, whose `ssh` knows the server's key and has one that is let in."""

    address: str
    bin: Path
    pid: int

    def sessions(self) -> list[str]:
        """The commands of all that runs for who has come in."""
        return [leaks.command_of(pid) for pid in leaks.descendants(self.pid)]


@contextlib.contextmanager
def ssh_server(folder: Path, **environment: str) -> Iterator[Server]:
    """environment: what programs that are started there find."""
    folder.mkdir()
    port = free_port()
    for name in ("host", "client"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    known = (folder / "host.pub").read_text()
    (folder / "known").write_text(f"[127.0.0.1]:{port} {known}")
    (folder / "sshd_config").write_text(_server_config(folder, port, environment))
    command = _client(folder)
    is_made = not EMPTIED.exists()
    EMPTIED.mkdir(mode=0o755, exist_ok=True)
    assert SSHD is not None
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stderr=log)
    try:
        eventually(lambda: _answers(port), "the ssh server")
        yield Server(f"ssh://{getpass.getuser()}@127.0.0.1:{port}", command, server.pid)
    finally:
        server.terminate()
        server.wait(30)
        if is_made:
            EMPTIED.rmdir()


def _server_config(folder: Path, port: int, environment: dict[str, str]) -> str:
    """StrictModes asks that no directory above the keys be anybody's to write, as /tmp is."""
    lines = [
        f"Port {port}", "ListenAddress 127.0.0.1", f"HostKey {folder / 'host'}", "PidFile none", "UsePAM no",
        f"AuthorizedKeysFile {folder / 'client.pub'}", "StrictModes no", "PasswordAuthentication no",
        "SetEnv " + " ".join(f'{name}="{value}"' for name, value in environment.items()),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _client(folder: Path) -> Path:
    bin = folder / "bin"
    bin.mkdir()
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder / 'client'}\nIdentitiesOnly yes\nUserKnownHostsFile {folder / 'known'}\n"
        "StrictHostKeyChecking yes\nBatchMode yes\n"
    )
    ssh = bin / "ssh"
    ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder / "ssh_config"} "$@"\n')
    ssh.chmod(0o755)
    return bin


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as connection:
        return connection.recv(4) == b"SSH-"
    return False
