"""CRIU as a program: where it is, how it is called, what its log says. Pure but for `find_program`.

Called by `checkpoints` and by the supervisor, which runs it: standard library only. Its images are trusted as
the program itself is, so they are never taken from anybody (see `seal`).
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping, Sequence

PACKAGE = "criu"
# Fixed, and never looked up in a PATH: what it starts runs as root on the host.
PLACES = ("/usr/sbin/criu", "/usr/bin/criu", "/usr/local/sbin/criu")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
LOG = "criu.log"
PID_FILE = "criu.pid"
NETWORK = "network"
GHOST_BYTES = "67108864"  # of an open file that was deleted, which goes into the images; CRIU's own is 1 MiB
MAX_TOLD = 3
MAX_TOLD_CHARACTERS = 300
_STAMP = re.compile(r"^\([\d.]+\)\s*(?:\d+:\s*)?(?:Error \([^)]*\): *)?")
# Said by a run that goes well, too.
_HARMLESS = ("RLIMIT_NOFILE", "Unable to create tun", "cgroupd: recv req error", "exited, status=")


def find_program(places: Sequence[str] = PLACES) -> str:
    """The program's path; "" where there is none, or one that somebody else than root could have written."""
    for path in places:
        try:
            found = os.stat(path)  # noqa: PTH116 - asked for at every ping
        except OSError:
            continue
        is_roots = found.st_uid == 0 and not found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if stat.S_ISREG(found.st_mode) and is_roots and found.st_mode & stat.S_IXUSR:
            return path
    return ""


def dump_command(
    program: str, pid: int, images: str, freezer: str, mounts: Sequence[str], others: Sequence[str]
) -> list[str]:
    """Write the tree of processes below pid to the directory images, and leave it frozen as it is.

    freezer: the directory of its control group. mounts: where those are mounted whose content is not the
    container's own; each is known to `restore_command` by its place in this list. others: keys of files and
    of the network namespace that lie outside.
    """
    known = [f"mnt[{target}]:{mount_name(index)}" for index, target in enumerate(mounts)]
    return [
        program, "dump", "--no-default-config", "-t", str(pid), "-D", images, "-o", LOG, "-v2",
        "--leave-running", "--freeze-cgroup", freezer, *_SAME,
        *(word for each in (*known, *others) for word in ("--external", each)),
    ]  # fmt: skip


def restore_command(
    program: str, images: str, root: str, work: str, inherited: Mapping[str, int], mounts: Sequence[str]
) -> list[str]:
    """Make the processes again, and end while they go on. root: where the container's root is mounted. work:
    the directory that gets the log and the file with the first process' number. inherited: key of what lies
    outside -> descriptor. mounts: the sources on the host, as `dump_command` was told their targets."""
    sources = [f"mnt[{mount_name(index)}]:{source}" for index, source in enumerate(mounts)]
    return [
        program, "restore", "--no-default-config", "-D", images, "-W", work, "-o", LOG, "-v2",
        "--root", root, "--restore-detached", "--pidfile", f"{work}/{PID_FILE}", *_SAME,
        *(word for each in sources for word in ("--external", each)),
        *(word for key, fd in inherited.items() for word in ("--inherit-fd", f"fd[{fd}]:{key}")),
    ]  # fmt: skip


# The control groups are made by us, before. Connections end: the other side is not checkpointed, and the
# address may be another one's by then.
_SAME = ("--manage-cgroups=ignore", "--tcp-close", "--file-locks", "--ghost-limit", GHOST_BYTES)


def mount_name(index: int) -> str:
    return f"m{index}"


def network_key(inode: int) -> str:
    """A network namespace that is not part of the checkpoint, for `dump_command`."""
    return f"net[{inode}]:{NETWORK}"


def file_key(mount_id: int, inode: int) -> str:
    """An open file that is not part of it, by the mount that it was opened through."""
    return f"file[{mount_id:x}:{inode:x}]"


def is_plain(target: str) -> bool:
    """Whether CRIU's options can name this path."""
    return target.isprintable() and not set("[]:\\") & set(target)


# What its log says -> what somebody who is not its author can do about it.
NEEDS_NEWER = "kernels since 6.16 need CRIU 4.2 for one that has any"
_ADVICE = (
    (re.compile(r"Can't get 1:(16|34)\b"), f"it has an internet socket, and {NEEDS_NEWER}"),
    (re.compile(r"rlimit .*not permitted"), "root lacks CAP_SYS_RESOURCE here: no other user can be kept"),
)


def parse_version(text: str) -> tuple[int, ...]:
    """Of what `criu --version` prints; () for what is none."""
    found = re.search(r"^Version: (\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else ()


def is_too_old(version: tuple[int, ...], kernel: tuple[int, ...]) -> bool:
    """Since 6.16 the kernel refuses SO_PASSCRED and SO_PASSSEC for sockets that have none, which CRIU asks
    of every one until 4.2 (its issue 2705)."""
    return version < (4, 2) and kernel >= (6, 16)


def advice(words: str) -> str:
    """A hint about what `told` gave; "" for none."""
    return next((hint for pattern, hint in _ADVICE if pattern.search(words)), "")


def told(log: str) -> str:
    """Why it failed, from its log: the last errors, in one line that is safe to print."""
    errors = [line for line in log.splitlines() if " Error (" in line or line.startswith("Error")]
    errors = [line for line in errors if not any(each in line for each in _HARMLESS)]
    words = "; ".join(_STAMP.sub("", line).strip() for line in errors[-MAX_TOLD:])
    shown = "".join(each if each.isprintable() else "?" for each in words)
    return shown[-MAX_TOLD_CHARACTERS:] or "its log names no error"
