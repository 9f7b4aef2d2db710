"""What of a running container lies outside of it: mounts whose content CRIU must not copy, and whence they
come again. Reads procfs of a container that is frozen; changes nothing.

A container can move links and mount things over others, so nothing here goes by the name of a target: a mount
is known by the file that is at its root.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime import mounts, syscalls
from runtime.checkpoints import criu
from runtime.errors import Unsupported

NULL = "null"
CGROUP = "cgroup:"  # and the name below /sys/fs/cgroup
BIND = "bind:"  # and the target in the container's config
# File systems that CRIU makes anew, with what is in them.
_MADE_AGAIN = frozenset(("proc", "sysfs", "tmpfs", "devpts", "mqueue"))
_ALWAYS_WHOLE = frozenset(("proc", "sysfs"))  # of which other mounts show a part


@dataclass(frozen=True, slots=True)
class MountLine:
    """A line of mountinfo (proc_pid_mountinfo(5)). root: the path in its file system that is mounted."""

    id: int
    root: str
    target: str
    kind: str


def parse_mountinfo(text: str) -> tuple[MountLine, ...]:
    found = []
    for line in text.splitlines():
        fields = line.split(" ")
        kind = fields[fields.index("-") + 1]
        found.append(MountLine(int(fields[0]), _plain(fields[3]), _plain(fields[4]), kind))
    return tuple(found)


def _plain(word: str) -> str:
    """Without the octal escapes for space, tab, newline and backslash."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        word = word.replace(code, character)
    return word


def find_mounts(pid: int, oci: Mapping[str, Any], bundle: str) -> tuple[tuple[str, str], ...]:
    """(target as it is now, what it shows: NULL, CGROUP… or BIND…). Unsupported for a mount that is neither
    the container's own nor one of its config. OSError."""
    lines = parse_mountinfo(Path(f"/proc/{pid}/mountinfo").read_text(errors="surrogateescape"))
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sources = dict(_sources(oci.get("mounts") or (), bundle))
        return tuple(_known(line, root, sources) for line in lines if not _is_own(line, root, sources))
    finally:
        os.close(root)


def _sources(oci_mounts: Sequence[Mapping[str, Any]], bundle: str) -> Iterator[tuple[tuple[int, int], str]]:
    """(device, inode) of each source of a bind -> what it is called."""
    found = os.stat("/dev/null")  # noqa: PTH116
    yield (found.st_dev, found.st_ino), NULL
    for mount in mounts.parse_mounts(oci_mounts, bundle):
        if mount.kind != "bind":
            continue
        tree = mounts.source_tree(mount)
        try:
            found = os.fstat(tree)
        finally:
            os.close(tree)
        yield (found.st_dev, found.st_ino), BIND + mount.target


def _is_own(line: MountLine, root: int, sources: Mapping[tuple[int, int], str]) -> bool:
    """Whether CRIU makes it again by itself."""
    if line.target == "/" or line.kind in _ALWAYS_WHOLE:
        return True
    return line.kind in _MADE_AGAIN and line.root == "/" and _identity(line, root) not in sources


def _known(line: MountLine, root: int, sources: Mapping[tuple[int, int], str]) -> tuple[str, str]:
    if not criu.is_plain(line.target):
        raise _unkept(line, "its path has signs that CRIU cannot take")
    if line.kind in ("cgroup", "cgroup2"):
        return line.target, CGROUP + line.target.removeprefix("/sys/fs/cgroup").strip("/")
    what = sources.get(_identity(line, root))
    if what is None:
        raise _unkept(line, "it is none of the container's config, or its source was replaced since")
    return line.target, what


def _identity(line: MountLine, root: int) -> tuple[int, int]:
    """(device, inode) of what is at its root. Unsupported where another mount hides it."""
    try:
        top = mounts.open_in_root(root, line.target, os.O_PATH, syscalls.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        raise _unkept(line, f"it cannot be looked at: {error.strerror}") from error
    try:
        if syscalls.mount_id(top) != line.id:
            raise _unkept(line, "another mount hides it")
        found = os.fstat(top)
        return found.st_dev, found.st_ino
    finally:
        os.close(top)


def _unkept(line: MountLine, reason: str) -> Unsupported:
    shown = "".join(each if each.isprintable() else "?" for each in line.target)
    return Unsupported("checkpoint", "", f"its mount at {shown[:200]} ({line.kind}) cannot be kept: {reason}")
