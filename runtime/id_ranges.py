"""The ids of containers with a user namespace: which 65,536 of the host's belong to whom.

One directory of the host holds all claims, of every instance: a link named by the range's first id, whose
target is "instance/holder". To make a link is one step and fails where one is, so no lock is needed; the
directory is gone with a reboot, as the processes are. What is on disk has no ids of a range (see
`mapped_mounts`), so a range can be given to another as soon as its processes have ended.

Called by the network code and by `engine`; reads the host's users once, when first asked for a range.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from runtime.errors import Temporary
from runtime.user_namespaces import SIZE

DIRECTORY = Path("/run/setpoint.ids")
# Above what systemd gives to machines (524288 to 1879048191), LXD takes by default (1000000 to 1000999999),
# useradd gives as subordinate ids (100000 to 600100000) and SSSD maps domains to (200000 to 2000200000);
# below systemd's foreign ids (2147352576) and 2^31, which ping_group_range and many programs end at, and from
# where on FreeIPA and podman's manual give out theirs. See ops/decisions/0009.
FIRST, END = 2_000_224_256, 2_147_352_576
COUNT = (END - FIRST) // SIZE
_FILES = ("/etc/subuid", "/etc/subgid", "/etc/passwd", "/etc/group")


class IdRanges:
    """The claims of one instance."""

    def __init__(self, instance: str, directory: Path = DIRECTORY) -> None:
        self._instance = instance
        self._directory = directory
        self._held: dict[str, int] = {}
        self._foreign: frozenset[int] | None = None

    def open(self, held: dict[str, int]) -> None:
        """Take over the claims of an earlier life: held are those that a record names, holder -> first id.
        A lost claim is made again; one that nobody stands for is given up."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for first, holder in claims(self._instance, self._directory):
            if held.get(holder) == first:
                self._held[holder] = first
            else:
                remove(first, self._directory)
        for holder, first in held.items():
            if holder not in self._held and self._take(first, holder):
                self._held[holder] = first

    def claim(self, holder: str) -> int:
        """The first id of the holder's range: the one it has, or a free one. Temporary when there is none."""
        known = self._held.get(holder)
        if known is not None:
            return known
        if self._foreign is None:
            self._foreign = foreign_ranges()
        start = zlib.crc32(f"{self._instance}/{holder}".encode())
        for step in range(COUNT):
            first = FIRST + (start + step) % COUNT * SIZE
            if first not in self._foreign and self._take(first, holder):
                self._held[holder] = first
                return first
        raise Temporary(
            "give ids", holder, f"all {COUNT} ranges of ids between {FIRST} and {END - 1} are taken",
            f"delete some of those containers, or what a removed instance left in {self._directory}", 30.0,
        )  # fmt: skip

    def release(self, holder: str) -> None:
        """Give a range back; nothing when there is none. Its processes must have ended."""
        first = self._held.pop(holder, None)
        if first is not None:
            remove(first, self._directory)

    def _take(self, first: int, holder: str) -> bool:
        try:
            os.symlink(f"{self._instance}/{holder}", f"{self._directory}/{first}")  # noqa: PTH211 - of a start
        except FileExistsError:
            return False
        except FileNotFoundError:
            self._directory.mkdir(mode=0o700, exist_ok=True)
            return self._take(first, holder)
        return True


def claims(instance: str, directory: Path = DIRECTORY) -> Iterator[tuple[int, str]]:
    """(first id, holder) of every claim of an instance."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):  # noqa: PTH208
            with contextlib.suppress(OSError, ValueError):
                owner, _, holder = os.readlink(f"{directory}/{name}").partition("/")  # noqa: PTH115
                if owner == instance:
                    yield int(name), holder


def remove(first: int, directory: Path = DIRECTORY) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{directory}/{first}")  # noqa: PTH108


def taken(directory: Path = DIRECTORY) -> frozenset[int]:
    """The first ids of all ranges that are claimed, or foreign."""
    found = set(foreign_ranges())
    with contextlib.suppress(FileNotFoundError):
        found.update(int(name) for name in os.listdir(directory) if name.isdigit())  # noqa: PTH208
    return frozenset(found)


def foreign_ranges() -> frozenset[int]:
    """The first ids of those ranges in which the host has users, subordinate ids or processes."""
    found: set[int] = set()
    for first, last in (*_listed(), *_running()):
        low, high = max(first, FIRST), min(last, END - 1)
        if low <= high:
            found.update(range(FIRST + (low - FIRST) // SIZE * SIZE, high + 1, SIZE))
    return frozenset(found)


def _listed() -> Iterator[tuple[int, int]]:
    """subuid(5), passwd(5) and the like. A directory service is not asked: it may hang."""
    for path in _FILES:
        with contextlib.suppress(OSError):
            for line in Path(path).read_text(errors="replace").splitlines():
                with contextlib.suppress(ValueError, IndexError):
                    yield from _ids_of(line.split(":"), is_range=path.rpartition("/")[2].startswith("sub"))


def _ids_of(fields: list[str], *, is_range: bool) -> Iterator[tuple[int, int]]:
    if is_range:
        yield int(fields[1]), int(fields[1]) + int(fields[2]) - 1
        return
    for field in fields[2:4]:
        if field.isdigit():
            yield int(field), int(field)


def _running() -> Iterator[tuple[int, int]]:
    """What a process runs as, or has mapped into its user namespace."""
    for name in os.listdir("/proc"):  # noqa: PTH208
        if not name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{name}/uid_map").read_text().splitlines():
                _, first, size = map(int, line.split())
                if size < END:  # else it is the whole of the host's
                    yield first, first + size - 1
            owner = os.stat(f"/proc/{name}").st_uid  # noqa: PTH116
            yield owner, owner
