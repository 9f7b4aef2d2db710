"""A context as a tar, for a caller who may not name directories to the agent: what `.dockerignore` leaves,
written to a file without a name."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path
from typing import IO

from runtime.images.dockerfile.ignore import Ignore, file_names, read_ignore


def pack(directory: Path, dockerfile: str) -> IO[bytes]:
    """Open at its beginning. The Dockerfile and the `.dockerignore` go along whatever that says."""
    name = dockerfile or "Dockerfile"
    ignore = _ignore(directory, name)
    kept = {name, *file_names(name), "Containerfile"}
    file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller's
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in _paths(directory, "", ignore, kept):
            info = tar.gettarinfo(directory / path, path)
            if info is None:  # a socket
                continue
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            if info.isreg():
                with (directory / path).open("rb") as content:
                    tar.addfile(info, content)
            else:
                tar.addfile(info)
    file.seek(0)
    return file


def _ignore(directory: Path, dockerfile: str) -> Ignore:
    for name in file_names(dockerfile):
        path = directory / name
        if path.is_file():
            return read_ignore(path.read_bytes(), name)
    return read_ignore(b"")


def _paths(directory: Path, prefix: str, ignore: Ignore, kept: set[str]) -> list[str]:
    found: list[str] = []
    for name in sorted(os.listdir(directory / prefix)):  # noqa: PTH208
        path = f"{prefix}/{name}" if prefix else name
        whole = directory / path
        is_directory = whole.is_dir() and not whole.is_symlink()
        is_hidden = path not in kept and ignore.is_ignored(path)
        if is_hidden and not (is_directory and ignore.may_hold_exceptions(path)):
            continue
        below = _paths(directory, path, ignore, kept) if is_directory else []
        if not is_hidden or below:
            found += [path, *below]
    return found
