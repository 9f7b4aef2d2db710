"""Starting processes: the values and the two functions that the supervisor and `oci` call.

    parent                                    child
    prepare(config) -> a flat Plan
    make and limit cgroups
    clone3 ------------------------------->   namespaces, root, mounts, devices
         <- {"console": true} + pty master    (with a terminal)
         <- {"warning": "…"}                  (a limit that could not be raised)
         <- {"ready": true}                   (with a gate: waits)
    "start" ------------------------------>
         <- {"error": {…}} or EOF             EOF: the program runs, or the child died

Standard library only. `launch` returns as soon as the child is forked and never blocks on it; the
caller reads `channel`, and learns the end from `pidfd`.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """A container to start.

    config: a parsed OCI runtime-spec config. bundle: its directory (a relative root.path is below
    it). stdio: descriptors that become 0, 1, 2; not used with a terminal. gate: block before the
    exec until "start" is received on the channel. seccomp: the compiled filter; None takes the file
    that annotation "setpoint.seccomp" names.
    gate_socket: a listening SEQPACKET socket's descriptor. With it the gate is one connection to
    that socket in place of the channel, and what follows goes there (a parent that does not stay).
    """

    config: Mapping[str, Any]
    bundle: str
    stdio: tuple[int, int, int] = (0, 1, 2)
    gate: bool = False
    seccomp: bytes | None = None
    gate_socket: int = -1
    keep_descriptors: int = 0  # 3 … 3+n-1 stay open in the program


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A further process for a running container.

    pid, pidfd: the container's first process. config: the container's. process: an OCI `process`
    object for the new one. stdio, seccomp: as in LaunchRequest.
    """

    pid: int
    pidfd: int
    config: Mapping[str, Any]
    process: Mapping[str, Any]
    stdio: tuple[int, int, int] = (0, 1, 2)
    seccomp: bytes | None = None
    keep_descriptors: int = 0


class Launched(NamedTuple):
    """A forked child. The caller owns both descriptors."""

    pid: int
    pidfd: int
    channel: socket.socket


class Message(NamedTuple):
    """One message of a child. descriptor is the pty's master with "console", else -1."""

    body: Mapping[str, Any]
    descriptor: int


def launch(request: LaunchRequest) -> Launched:
    """Fork a container's first process. Raises runtime.errors for a config that cannot work."""
    raise NotImplementedError


def launch_exec(request: ExecRequest) -> Launched:
    """Fork a further process into a running container."""
    raise NotImplementedError


def receive(channel: socket.socket) -> Message | None:
    """The next message from a child, or None at EOF. BlockingIOError on a non-blocking channel."""
    raise NotImplementedError
