"""Removes every trace of an instance from the kernel, by its names alone: for `setpoint down` and after
a lost or damaged state. Data on disk stays unless it is asked for.

Works with and without a supervisor, engine or record, and may be repeated. Blocks; called in a thread
or by the command line.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
import time
from pathlib import Path

from runtime import apparmor, cgroups, id_ranges, mount_table, syscalls
from runtime.errors import Conflict, SetpointError, Temporary
from runtime.layout import Layout
from runtime.network.remove import remove_all
from runtime.removal import remove_tree
from runtime.supervisor import starter
from runtime.supervisor.own_cgroup import path_beside
from runtime.unkillable import unkillable

KILL_SECONDS = 10.0
THAW_SECONDS = 0.5  # until what is frozen below a container's cgroup is thawed, too
# What one of an instance's directories holds, whichever part of it was first.
OURS = frozenset(
    ("agent.lock", "agent.log", "apparmor", "containers", "hosts", "images", "mount-points", "netns",
     "networks", "sandboxes", "seccomp", "setpoint.db", "setpoint.sock", "supervisor.err", "supervisor.sock",
     "supervisor.sock.lock", "volumes")
)  # fmt: skip


def remove_instance(layout: Layout, *, with_data: bool = False) -> None:
    """Kill all containers, end the supervisor, take networks, mounts, cgroups and the run directory
    away; with_data also everything on disk. Temporary when a process does not die, Conflict when a
    directory of that name is another program's."""
    for directory in (layout.run, layout.data):
        _refuse_foreign(directory)
    parent = f"/{layout.cgroup_parent}"
    deadline = time.monotonic() + KILL_SECONDS
    for path in _container_cgroups(parent):
        _kill(path)
    _wait_empty(parent, deadline)
    end_supervisor(layout, deadline)
    _wait_empty(parent, deadline)  # of what it was starting
    beside = [path_beside(layout.cgroup_parent), *(f"/{name}" for name in layout.side_cgroups)]
    for path in beside[1:]:
        cgroups.kill(path)
    for path in (*_container_cgroups(parent), parent, *beside):
        cgroups.delete(path, max(0.1, deadline - time.monotonic()))
    apparmor.unload(layout.apparmor_profile)
    remove_all(layout)
    for first, _ in id_ranges.claims(layout.instance):
        id_ranges.remove(first)
    _unmount(f"{layout.run}/")
    _unmount(f"{layout.data}/", keeps=layout.data)
    with contextlib.suppress(FileNotFoundError):
        remove_tree(layout.run)
    if with_data:
        _remove_data(layout.data)


def _refuse_foreign(directory: Path) -> None:
    """Conflict for a directory of this name that another program has filled."""
    with contextlib.suppress(OSError):  # not there, or on a disk that cannot be read
        found = {entry.name for entry in directory.iterdir()}
        if found and not found & OURS:
            raise Conflict(
                "remove instance",
                str(directory),
                "there is nothing of Setpoint's in it",
                "name another instance",
            )


def _container_cgroups(parent: str) -> tuple[str, ...]:
    """The paths below an instance's parent, in any hierarchy."""
    found: dict[str, None] = {}
    for directory in cgroups.existing(parent):
        for entry in os.scandir(directory):
            if entry.is_dir(follow_symlinks=False):
                found[f"{parent}/{entry.name}"] = None
    return tuple(found)


def _kill(path: str) -> None:
    with contextlib.suppress(SetpointError, OSError):
        if cgroups.is_frozen(path):
            cgroups.kill(path)
            cgroups.thaw(path)
    cgroups.kill(path)


def _wait_empty(parent: str, deadline: float) -> None:
    thaw_at = time.monotonic() + THAW_SECONDS
    while True:
        left = [path for path in _container_cgroups(parent) if cgroups.list_pids(path)]
        if not left:
            return
        if time.monotonic() > deadline:
            raise unkillable("remove", f"{len(left)} of the instance's containers", left[0])
        time.sleep(0.002)
        for path in left:
            if time.monotonic() > thaw_at:
                cgroups.thaw_below(path)
            _kill(path)


def end_supervisor(layout: Layout, deadline: float) -> None:
    """Stop it when it answers, once it has written down how the containers ended; else kill it."""
    sock = starter.connect(layout)
    if sock is None:
        return
    with sock:
        pid = struct.unpack("=iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        if pid <= 0:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            _ask_to_stop(sock, deadline)
            if not _has_ended(pidfd, 1.0):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                if not _has_ended(pidfd, 5.0):
                    raise Temporary("stop", "supervisor", f"process {pid} does not die")
        finally:
            os.close(pidfd)


def _ask_to_stop(sock: socket.socket, deadline: float) -> None:
    """Not forced, again and again, so that the last exits are written down; forced in the end."""
    give_up = min(deadline, time.monotonic() + 2.0)
    sock.settimeout(1.0)
    with contextlib.suppress(OSError):
        while time.monotonic() < give_up:
            if b'"error"' not in _ask(sock, b'{"id":1,"op":"stop"}'):
                return
            time.sleep(0.002)
        _ask(sock, b'{"id":1,"op":"stop","force":true}')


def _ask(sock: socket.socket, body: bytes) -> bytes:
    sock.sendall(struct.pack("!I", len(body)) + body)
    return sock.recv(65536)


def _has_ended(pidfd: int, seconds: float) -> bool:
    import select

    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(seconds * 1000))


def _remove_data(data: Path) -> None:
    """All that is in it; the directory itself stays where somebody mounted a disk for it."""
    try:
        remove_tree(data)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EBUSY or any(data.iterdir()):
            raise


def _unmount(prefix: str, keeps: Path | None = None) -> None:
    """All that is mounted below a directory, and on it if it is not `keeps`."""
    for point in mount_table.points_below(prefix):
        if keeps is not None and point == str(keeps):
            continue
        with contextlib.suppress(OSError):
            syscalls.umount2(point, syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
