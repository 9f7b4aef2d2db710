"""Hears from the kernel's audit records which system calls containers were refused.

    filter that logs ─> AUDIT_SECCOMP (1326) ─> netlink multicast ─> pid ─> cgroup ─> container

Records come without auditd and with auditing off. Each names a process by its number: one that was refused
and ended at once may be gone by then, and is not found unless it is a container's first. Costs nothing while
nothing is refused; of a flood a few records a second are read. A container chose some of their words.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import functools
import re
import socket
import struct
from collections.abc import Callable
from pathlib import Path

NETLINK_AUDIT, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, AUDIT_NLGRP_READLOG = 9, 270, 1, 1
AUDIT_SECCOMP = 1326
SO_ATTACH_FILTER = 26
RECEIVE_BYTES = 64 * 1024
AT_ONCE = 64
PAUSE_SECONDS = 1.0
MAX_TOLD, MAX_CONTAINERS = 16, 4096
RECORD = re.compile(
    rb"audit\([0-9.]+:[0-9]+\): auid=[0-9]+ uid=[0-9]+ gid=[0-9]+ ses=[0-9]+(?: subj=[^\"=]{1,256})?"
    rb" pid=([0-9]{1,10}) comm=(?:\"[^\"]*\"|[0-9A-F]*)"
    rb" exe=(?:\"[^\"]*\"|[0-9A-F]*|\(null\)) sig=0"
    rb" arch=([0-9a-f]{1,8}) syscall=([0-9]{1,6}) compat=[01] ip=0x[0-9a-f]{1,16}"
    rb" code=0x([0-9a-f]{1,8})\s*\0*"
)
ERRNO = 0x50000
OnDenied = Callable[[str, int], None]


def parse(data: bytes) -> tuple[int, int] | None:
    """(pid, number of the call) of a netlink message, None for one that is no refusal with an errno."""
    if len(data) < 16 or struct.unpack_from("=IH", data)[1] != AUDIT_SECCOMP:
        return None
    found = RECORD.fullmatch(data[16:])
    if found is None or int(found[4], 16) & 0x7FFF0000 != ERRNO:
        return None
    return int(found[1]), int(found[3])


class Denials:
    """on_denied gets a container's id and the call's number, once for each. parent: the containers' cgroup.
    first_of: the container whose first process has a number, or had until now."""

    def __init__(
        self,
        parent: str,
        on_denied: OnDenied,
        first_of: Callable[[int], str | None] = lambda pid: None,
        proc: Path = Path("/proc"),
    ) -> None:
        self._id = re.compile(rf":/(?:[^:]*/)?{re.escape(parent)}/([0-9a-f]{{64}})(?:/|$)", re.MULTILINE)
        self._on_denied, self._first_of = on_denied, first_of
        self._left, self._until = AT_ONCE, 0.0
        self._proc = proc
        self._told: dict[str, set[int]] = {}
        self._socket: socket.socket | None = None
        self._again: asyncio.TimerHandle | None = None

    def open(self) -> bool:
        """False where the kernel has no such records, or does not let us read them."""
        try:
            self._socket = listen()
        except OSError:
            return False
        asyncio.get_running_loop().add_reader(self._socket, self._on_records)
        return True

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _on_records(self) -> None:
        """Those that are there, at most so many a second, whoever cries on."""
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        if loop.time() > self._until:
            self._left, self._until = AT_ONCE, loop.time() + PAUSE_SECONDS
        while self._left > 0:
            self._left -= 1
            try:
                data, sender = self._socket.recvfrom(8192)
            except BlockingIOError:
                return
            except OSError:  # ENOBUFS: some were lost
                continue
            if sender[0] == 0 and (found := parse(data)) is not None:
                self._look(*found)
        loop.remove_reader(self._socket)
        self._again = loop.call_at(self._until, self._listen_again)

    def _listen_again(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().add_reader(self._socket, self._on_records)

    def _look(self, pid: int, number: int) -> None:
        text = ""
        with contextlib.suppress(OSError):
            text = (self._proc / str(pid) / "cgroup").read_text()
        found = self._id.search(text)
        id = found[1] if found is not None else None if text else self._first_of(pid)
        if id:
            self._tell(id, number)

    def _tell(self, id: str, number: int) -> None:
        if len(self._told) >= MAX_CONTAINERS:
            self._told.clear()
        told = self._told.setdefault(id, set())
        if number not in told and len(told) < MAX_TOLD:
            told.add(number)
            self._on_denied(id, number)


@functools.cache
def why_deaf() -> str:
    """What keeps denials from being heard on this host, "" for nothing."""
    try:
        listen().close()
    except OSError as error:
        return f"no audit records: {error.strerror}"
    try:
        logged = Path("/proc/sys/kernel/seccomp/actions_logged").read_text().split()
    except OSError:
        return "no kernel.seccomp.actions_logged"
    return "" if "errno" in logged else "errno is not in kernel.seccomp.actions_logged"


def listen() -> socket.socket:
    """A socket that gets AUDIT_SECCOMP records alone. Needs CAP_AUDIT_READ. Raises OSError."""
    made = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, NETLINK_AUDIT
    )
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BYTES)
        type_here = int.from_bytes(struct.pack("=H", AUDIT_SECCOMP), "big")  # BPF loads as the network does
        code = ((0x28, 0, 0, 4), (0x15, 0, 1, type_here), (0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
        program = array.array("B", b"".join(struct.pack("=HBBI", *each) for each in code))
        attached = struct.pack("@HP", len(code), program.buffer_info()[0])
        made.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, attached)
        made.bind((0, 0))
        made.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, AUDIT_NLGRP_READLOG)
    except OSError:
        made.close()
        raise
    return made
