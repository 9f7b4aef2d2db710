"""A tar into a directory of a container, out of a pipe or of the client's connection. Called by the worker,
which is bound to the container's root by then.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Mapping
from typing import Any

from runtime import syscalls, users
from runtime.copies.inlet import Incoming, Inlet, read_whole
from runtime.copies.places import place_of, real_parts
from runtime.copies.taking import Taking
from runtime.errors import Invalid
from runtime.images.limits import Limits
from runtime.images.streams import MAGIC_BYTES, ByteStream, check_limits, detect_packing, unpack_chunks
from runtime.images.tarheaders import read_entries

LIMITS = Limits()


def put(root: int, told: Mapping[str, Any]) -> None:
    """told: what `container_copies` says, with the descriptors. SetpointError, OSError."""
    subject, parts = told["name"], real_parts(root, told["path"])
    with place_of(root, "/" + "/".join(parts)) as dest:
        if not dest.is_directory:
            raise Invalid("", "", "extraction point is not a directory")
        _refuse_read_only(root, dest.descriptor)
        owner = _owner(root, told["owner"])
        path = os.fsencode("/".join(parts))
        taking = Taking(
            root,
            dest.descriptor,
            path,
            subject,
            LIMITS,
            owner=owner,
            ids=told["ids"],
            keeps_kinds=told["keeps_kinds"],
        )
        try:
            stream = ByteStream(_chunks(told))
            for entry in read_entries(stream, subject, LIMITS):
                taking.add(entry, stream.take(entry.size))
            taking.end()
            stream.drain()  # what follows the end mark is nothing, and is waited for
        finally:
            taking.close()


def _chunks(told: Mapping[str, Any]) -> Iterator[bytes] | Iterator[memoryview]:
    """Of the plain tar."""
    if "pipe" in told:
        return unpack_chunks(os.fdopen(int(told["pipe"]), "rb", 0), told["name"], LIMITS)
    early = read_whole(told["early"]) if "early" in told else b""
    if "connection" not in told:
        return _of_whole(early, told["name"])
    inlet = Inlet(Incoming(int(told["connection"]), early, told["length"], told["silence"]))
    if detect_packing(inlet.peek(MAGIC_BYTES)):
        return unpack_chunks(inlet, told["name"], LIMITS)
    return _views(inlet, told["name"])


def _of_whole(data: bytes, subject: str) -> Iterator[bytes] | Iterator[memoryview]:
    if detect_packing(data[:MAGIC_BYTES]):
        return unpack_chunks(io.BytesIO(data), subject, LIMITS)
    return iter((memoryview(data),))


def _views(inlet: Inlet, subject: str) -> Iterator[memoryview]:
    size = 0
    for view in inlet.views():
        size += len(view)
        check_limits(size, size, "", subject, LIMITS)
        yield view


def _refuse_read_only(root: int, dest: int) -> None:
    if os.fstatvfs(dest).f_flag & os.ST_RDONLY:
        is_root = syscalls.mount_id(dest) == syscalls.mount_id(root)
        what = "container rootfs" if is_root else "mounted volume"
        raise Invalid("", "", f"{what} is marked read-only")


def _owner(root: int, user: str) -> tuple[int, int] | None:
    """Of all that is made: the container's user, as its own files say; "" keeps the archive's."""
    if not user:
        return None
    found = users.resolve(root, user, ())
    return found.uid, found.gid
