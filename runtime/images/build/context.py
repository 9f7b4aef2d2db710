"""A build's context: the directory that COPY and ADD take files from, held open, and the files that steer it.

    directory   as it is on this host, seen through a descriptor: no link leads out of it
    tar         unpacked below the build's own directory
    url         a tar, fetched and unpacked there, or a Dockerfile, which is then all of it
    caller      an empty directory, until what the plan takes was asked for (`put`)
    none        an empty directory: the Dockerfile takes nothing

Called by the build's process. Reads a Dockerfile and a `.dockerignore` of it, and nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import os
from pathlib import Path

from runtime.errors import Invalid, NotFound
from runtime.images.build import archives, paths
from runtime.images.build.order import BuildOrder
from runtime.images.build.sources import SourceTree
from runtime.images.dockerfile import limits
from runtime.images.dockerfile.ignore import Ignore, file_names, read_ignore

DOCKERFILE = "Dockerfile"
IGNORE = ".dockerignore"
_OTHER_DOCKERFILE = "Containerfile"  # as buildah takes it where there is no Dockerfile
_REMEMBERED = 1 << 16


class Context:
    """root: a descriptor. Close it at the end."""

    def __init__(self, root: int, name: str) -> None:
        self.root = root
        self._name = name

    def close(self) -> None:
        os.close(self.root)

    def put(self, tar: Path, directory: Path) -> None:
        """From now on the files of a tar, unpacked below `directory`."""
        with tar.open("rb") as file:
            tree = archives.unpack_stream(file, directory)
        os.close(self.root)
        self.root = -1
        self.root, self._name = _open(tree), "the context"

    def read(self, path: str) -> bytes | None:
        """A small file of the context; None when it is not there. `Invalid` for what is no file."""
        try:
            parts = paths.real_path(self.root, path)
            if paths.status(self.root, parts) is None:
                return None
            opened = paths.open_file(self.root, parts)
        except OSError as error:
            raise Invalid("read", path, f"in {self._name}: {error.strerror}") from error
        try:
            return _read_all(opened)
        finally:
            os.close(opened)

    def tree(self, ignore: Ignore) -> SourceTree:
        """What the build may take."""
        if not len(ignore):
            return SourceTree(self.root, self._name, keeps_owner=False)
        return SourceTree(
            self.root,
            self._name,
            keeps_owner=False,
            is_hidden=functools.lru_cache(_REMEMBERED)(ignore.is_ignored),
            may_hold=ignore.may_hold_exceptions,
        )


def open_context(order: BuildOrder, directory: Path) -> Context:
    """directory: the build's own, for what has to be unpacked. `NotFound`, `Invalid`."""
    match order.context_kind:
        case "directory":
            return Context(_open(Path(order.context)), "the context")
        case "tar":
            with Path(order.context).open("rb") as file:
                tree = archives.unpack_stream(file, directory / "context")
            return Context(_open(tree), "the context")
        case "url":
            return Context(_open(_fetch(order, directory)), "the context")
        case _:
            (directory / "no-context").mkdir(mode=0o700)
            return Context(_open(directory / "no-context"), "the context, which is empty")


def open_named(order: BuildOrder, name: str, directory: Path) -> Context:
    """A directory that was given beside the context."""
    kind, where = order.contexts[name]
    if kind == "directory":
        return Context(_open(Path(where)), f"the directory {name}")
    place = directory / f"named-{hashlib.sha256(name.encode('utf-8', 'surrogatepass')).hexdigest()}"
    with Path(where).open("rb") as file:
        return Context(_open(archives.unpack_stream(file, place)), f"the directory {name}")


def read_own_ignore(context: Context) -> Ignore:
    """Of a directory beside the context: what its own `.dockerignore` says."""
    data = context.read(IGNORE)
    return read_ignore(b"" if data is None else data)


def _fetch(order: BuildOrder, directory: Path) -> Path:
    from runtime.images.build.http import fetch_file  # late: few builds need it

    place = directory / "context-download"
    fetch_file(order.context, DOCKERFILE, place, "", reaches_host=order.network == "host")
    if archives.is_archive(place):
        return archives.unpack(place, directory / "context")
    (directory / "context").mkdir(mode=0o700)
    return place.rename(directory / "context" / DOCKERFILE).parent


def _open(path: Path) -> int:
    if not path.is_absolute():
        raise Invalid("open context", str(path), "not an absolute path")
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound("open context", str(path), "no such directory") from None
    except OSError as error:
        raise Invalid("open context", str(path), os.strerror(error.errno or 0)) from error


def read_dockerfile_of(order: BuildOrder, context: Context) -> tuple[str, bytes]:
    """(its name, its bytes). `NotFound` with the names that were looked for."""
    if order.dockerfile_text is not None:
        return order.dockerfile or DOCKERFILE, order.dockerfile_text.encode("utf-8", "surrogateescape")
    names = (order.dockerfile,) if order.dockerfile else (DOCKERFILE, _OTHER_DOCKERFILE)
    for name in names:
        data = context.read(name)
        if data is not None:
            return name, data
    raise NotFound("build image", names[0], "there is no such file in the context", "-f FILE names another")


def read_ignore_of(order: BuildOrder, dockerfile: str, context: Context) -> Ignore:
    """Of the first of its files that is there."""
    if order.ignore_text is not None:
        return read_ignore(order.ignore_text.encode("utf-8", "surrogateescape"))
    for name in file_names(dockerfile):
        data = context.read(name)
        if data is not None:
            return read_ignore(data, name)
    return read_ignore(b"")


def _read_all(descriptor: int) -> bytes:
    """One byte more than is allowed, so that its reader says so."""
    most = limits.FILE_BYTES + 1
    parts: list[bytes] = []
    while most and (data := os.read(descriptor, most)):
        parts.append(data)
        most -= len(data)
    return b"".join(parts)
