"""Whether the places that mounts come from answer, found out without waiting for one that does not.

    path ── in the kernel's cache, on a local file system ──> well: two system calls, nothing is waited for
         └─ on FUSE, NFS and the like, or not cached while there are any ──> a child looks, with a deadline

A file system whose server is gone holds whoever touches it in the kernel, out of reach of signals. The agent
and the supervisor must not be that one: all other containers would wait, too. A child may; what became of it
is kept, and nobody else is sent there as long as it waits. Called by `life` before a create and a start.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path

from runtime import syscalls
from runtime.errors import Temporary

DEADLINE_SECONDS = 3.0
RETRY_SECONDS = 5.0
# File systems that another machine or process answers for.
_SERVED = frozenset(
    ("9p", "afs", "autofs", "beegfs", "ceph", "cifs", "coda", "fuse", "fuseblk", "gfs2", "gpfs", "lustre",
     "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "smb3", "smbfs", "virtiofs")
)  # fmt: skip
SOMEWHERE = "a file system"
# stat(2) may be answered from what is known, statfs(2) is asked for each time.
_LOOK = "import os, sys\nos.stat(sys.argv[1])\nos.statvfs(sys.argv[1])"
_SILENT = [(os.POSIX_SPAWN_OPEN, number, "/dev/null", os.O_RDWR, 0) for number in (0, 1, 2)]


class Answering:
    """For the event loop's thread."""

    def __init__(self) -> None:
        self._local: set[int] = set()  # lasting ids of mounts that nobody can keep from answering
        self._looks: dict[str, asyncio.Future[bool]] = {}
        self._stuck: dict[str, int] = {}  # path -> the pidfd of the child that waits there

    async def check(self, op: str, name: str, paths: Iterable[str]) -> None:
        """Temporary for a path that does not answer in time. One that is not there is no matter of this."""
        for path in paths:
            if self._is_local(path) or (place := served_place(path)) is None or await self._answers(path):
                continue
            raise Temporary(
                op, name, f"{path} does not answer: {place} hangs",
                "see to its server, or unmount it by force (umount -f -l)", RETRY_SECONDS,
            )  # fmt: skip

    def close(self) -> None:
        """Children that wait are left to the kernel."""
        loop = asyncio.get_running_loop()
        for pidfd in self._stuck.values():
            loop.remove_reader(pidfd)
            os.close(pidfd)
        self._stuck.clear()

    def _is_local(self, path: str) -> bool:
        """Whether it certainly answers. RESOLVE_CACHED, kernel 5.12: never leaves the kernel's own caches."""
        try:
            descriptor = syscalls.openat2(syscalls.AT_FDCWD, path, os.O_PATH, 0, syscalls.RESOLVE_CACHED)
        except BlockingIOError:  # not cached
            return False
        except OSError:  # it is not there, or no way leads to it
            return served_place(path) in (None, SOMEWHERE)
        try:
            mount = syscalls.lasting_mount_id(descriptor)
            if mount in self._local:
                return True
            if _is_served_mount(syscalls.mount_id(descriptor)):
                return False
            if mount:
                self._local.add(mount)
            return True
        finally:
            os.close(descriptor)

    async def _answers(self, path: str) -> bool:
        if path in self._stuck:
            return False
        look = self._looks.get(path)
        if look is None:
            look = self._looks[path] = asyncio.ensure_future(self._look(path))
            look.add_done_callback(lambda _: self._looks.pop(path, None))
        return await asyncio.shield(look)

    async def _look(self, path: str) -> bool:
        """Send a child. One that is not back by the deadline is left, and reaped when it is."""
        loop = asyncio.get_running_loop()
        command = [sys.executable, "-I", "-S", "-c", _LOOK, path]
        child = os.posix_spawn(sys.executable, command, {}, file_actions=_SILENT)  # noqa: ASYNC221 (it waits for nobody)
        pidfd = os.pidfd_open(child)
        back: asyncio.Future[None] = loop.create_future()

        def on_end() -> None:
            loop.remove_reader(pidfd)
            os.close(pidfd)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(child, 0)
            self._stuck.pop(path, None)
            if not back.done():
                back.set_result(None)

        loop.add_reader(pidfd, on_end)
        try:
            async with asyncio.timeout(DEADLINE_SECONDS):
                await asyncio.shield(back)
        except TimeoutError:
            self._stuck[path] = pidfd
            os.kill(child, signal.SIGKILL)
            return False
        return True


def served_place(path: str) -> str | None:
    """`nfs4 on /mnt/data` for a path whose file system may not answer, by its name alone; None when there is
    no such file system here at all. A link may lead to any of them: "a file system" then."""
    served = list(_served())
    if not served:
        return None
    below = [(point, kind) for _, point, kind in served if f"{path}/".startswith(f"{point}/")]
    if not below:
        return SOMEWHERE
    point, kind = max(below, key=lambda each: len(each[0]))
    return f"{kind} on {point}"


def _is_served_mount(mount: int) -> bool:
    return any(id == mount for id, _, _ in _served())


def _served() -> Iterable[tuple[int, str, str]]:
    """(mount id, mount point, kind) of every mounted file system that a server answers for."""
    for line in Path("/proc/self/mountinfo").read_bytes().split(b"\n"):
        before, _, after = line.partition(b" - ")
        kind = after.split(b" ", 1)[0].decode(errors="replace")
        if kind in _SERVED or kind.startswith("fuse."):
            fields = before.split(b" ")
            # Octal escapes of single bytes (proc(5)).
            point = os.fsdecode(fields[4].decode("unicode_escape").encode("latin-1"))
            yield int(fields[0]), point, kind
