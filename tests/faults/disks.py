"""A small disk of one's own: a file with a file system in it, mounted by a loop device, that a test may
fill, make read-only or take the power from. Gone at the end, whatever the test did."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from runtime import syscalls

MEBIBYTE = 1 << 20
FILLER = "filler"


@contextlib.contextmanager
def small_disk(
    point: Path, file: Path, mebibytes: int = 256, inodes: int = 0, kind: str = "ext4"
) -> Iterator[Disk]:
    """An ext4 of this size at `point`, which is made. inodes: how many it has, 0 for as many as usual.
    kind: "xfs" (of 300 MiB at least), or "quota": a btrfs of which half may be used, and which says that all
    of it may."""
    with file.open("wb") as made:
        made.truncate(mebibytes * MEBIBYTE)
    point.mkdir(mode=0o700, parents=True, exist_ok=True)
    few = ["-N", str(inodes)] if inodes else []
    match kind:
        case "xfs":
            run("mkfs.xfs", "-q", "-f", file)
        case "quota":
            _make_with_quota(point, file, mebibytes * MEBIBYTE // 2)
        case _:
            run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard", *few, file)
    disk = Disk(point, file)
    disk.mount(",subvol=held" if kind == "quota" else "")
    try:
        yield disk
    finally:
        disk.unmount()
        file.unlink()
        with contextlib.suppress(OSError):
            point.rmdir()


def _make_with_quota(point: Path, file: Path, limit_bytes: int) -> None:
    run("mkfs.btrfs", "-q", "-f", file)
    run("mount", "-o", "loop", file, point)
    run("btrfs", "quota", "enable", point)
    run("btrfs", "subvolume", "create", point / "held")
    run("btrfs", "qgroup", "limit", str(limit_bytes), point / "held")
    run("umount", point)


class Disk:
    def __init__(self, point: Path, file: Path) -> None:
        self.point = point
        self._file = file

    def mount(self, options: str = "") -> None:
        run("mount", "-o", f"loop{options}", self._file, self.point)

    def unmount(self) -> None:
        """Its loop device goes with it (autoclear)."""
        deadline = time.monotonic() + 10
        while subprocess.run(["umount", self.point], capture_output=True, check=False).returncode:
            if not self.is_mounted():
                return
            if time.monotonic() > deadline:
                run("umount", "-l", self.point)
                return
            time.sleep(0.02)

    def is_mounted(self) -> bool:
        """By the kernel's list: a disk that fails cannot be asked."""
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return any(line.split()[4] == str(self.point) for line in lines)

    def is_xfs(self) -> bool:
        with self._file.open("rb") as file:
            return file.read(4) == b"XFSB"

    def remount(self, options: str) -> None:
        run("mount", "-o", f"remount,{options}", self.point)

    def turn_read_only(self) -> None:
        """As soon as nobody has a file of it open for writing."""
        deadline = time.monotonic() + 10
        while subprocess.run(
            ["mount", "-o", "remount,ro", self.point], capture_output=True, check=False
        ).returncode:
            assert time.monotonic() < deadline
            time.sleep(0.02)

    # --- bytes

    def free_bytes(self) -> int:
        found = os.statvfs(self.point)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Take every block but `leave_bytes` of them."""
        descriptor = os.open(self.point / FILLER, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            piece = 16 * MEBIBYTE
            while piece >= 4096:
                if self.free_bytes() - piece < leave_bytes:
                    piece //= 2
                    continue
                try:
                    os.posix_fallocate(descriptor, size, piece)
                    size += piece
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    piece //= 2
        finally:
            os.close(descriptor)

    def free(self) -> None:
        (self.point / FILLER).unlink(missing_ok=True)

    # --- inodes

    def fill_inodes(self, leave: int = 0) -> None:
        """Take every inode but `leave` of them. `fill` has its own before: those that come free later, the
        agent may take for its ballast."""
        (self.point / FILLER).touch()
        directory = self.point / "many"
        directory.mkdir(exist_ok=True)
        number = len(os.listdir(directory))
        while os.statvfs(self.point).f_ffree > leave:
            try:
                (directory / str(number)).touch()
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
            number += 1

    def free_inodes(self) -> None:
        run("rm", "-rf", self.point / "many")


def in_own_mounts(body: Callable[[], None]) -> None:
    """Run body in a process whose mounts nobody else has. A mount namespace that somebody makes meanwhile
    would hold a copy of ours, and a file system that has lost its power would live on in it."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            signal.alarm(0)
            syscalls.unshare(syscalls.CLONE_NEWNS)
            syscalls.mount("none", "/", None, syscalls.MS_REC | syscalls.MS_PRIVATE, None)
            body()
            code = 0
        except BaseException:
            os.write(writing, traceback.format_exc().encode()[-60_000:])
        finally:
            os._exit(code)
    os.close(writing)
    try:
        with os.fdopen(reading, "rb") as file:
            said = file.read().decode()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) in (0, -signal.SIGKILL) and not said, said


def run(*words: str | Path) -> None:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr}"
