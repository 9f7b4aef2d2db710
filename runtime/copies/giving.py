"""What a path of a container names, as a tar: `docker cp` out of it.

A directory's archive has it and all below it, what is mounted there too; a file's has the file, a link's the
link. What the kernel makes up (procfs, sysfs) and the devices that each start gets are left out, sockets too.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from runtime.copies.outlet import Outlet
from runtime.copies.places import PathStat, Place, is_kernels, place_of
from runtime.images.layer_writer import TreeEntries
from runtime.images.limits import Limits
from runtime.images.tarwriter import END
from runtime.images.walk import Found, walk

# What is given goes to who may read it all anyway: bounds are there for what is taken.
SMALL_BYTES = 32 * 1024
PIPE_BYTES = 64 * 1024  # that any pipe holds (pipe(7))
LIMITS = Limits(entries=1 << 40, unpacked_bytes=1 << 62)


def give(root: int, path: str, outlet: Outlet, subject: str) -> None:
    """`NotFound`, `Invalid`; OSError of the disk, or of a reader that went away."""
    entries = TreeEntries(subject, outlet.write, outlet.send, limits=LIMITS)
    with place_of(root, path) as place:
        for found in _found(root, place, subject):
            entries.add(found, _named(place.base, found.path))
    outlet.write(END)
    outlet.flush()


def give_small(root: int, path: str, subject: str) -> tuple[PathStat, bytes] | None:
    """The same of one small file, whole. None for all else, which is for a worker."""
    with place_of(root, path) as place:
        status = place.status
        if not stat.S_ISREG(status.st_mode) or status.st_size > SMALL_BYTES:
            return None
        pieces: list[bytes] = []
        entries = TreeEntries(subject, pieces.append, limits=LIMITS)
        entries.add(Found(b"", status, place.descriptor), _named(place.base, b""))
        told = PathStat(place.base, status.st_size, status.st_mode, status.st_mtime_ns, "")
    data = b"".join((*pieces, END))
    return (told, data) if len(data) <= PIPE_BYTES else None  # attributes may be long


def _found(root: int, place: Place, subject: str) -> Iterator[Found]:
    if not place.is_directory:
        return iter((Found(b"", place.status, place.descriptor),))
    own = os.fstat(root).st_dev if place.path == "/" else 0

    def enters(found: Found) -> bool:
        if own and found.path == b"dev" and found.status.st_dev != own:
            return False
        return not is_kernels(found.descriptor)

    return walk([place.descriptor], subject, LIMITS, crosses=True, enters=enters)


def _named(base: str, path: bytes) -> bytes:
    """All names in an archive begin with what was asked for."""
    if base == "/":
        return b"/" + path
    return os.fsencode(base) + (b"/" + path if path else b"")
