"""The root file system of a container as a tar: its writable layer over its image, and no mounts.

    export_root([upper, lower, ...], write, subject)

Reads the layers' directories and not the container's mounts: it does not matter whether the container runs,
what it has mounted where, or which ids it was given, for on the disk are its own. Called in a worker.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from runtime.errors import NotFound
from runtime.images.layer_writer import TreeEntries, refuse_elsewhere
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.tarwriter import END, write_entry
from runtime.images.walk import walk

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def opened(directories: Sequence[Path]) -> Iterator[list[int]]:
    """Their descriptors. NotFound when one of them was removed meanwhile, with its container."""
    descriptors: list[int] = []
    try:
        for directory in directories:
            try:
                descriptors.append(os.open(directory, _DIRECTORY))
            except FileNotFoundError as error:
                raise NotFound("read root", str(directory), "it was removed meanwhile") from error
        yield descriptors
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def export_root(
    layers: Sequence[Path],
    write: Callable[[bytes], object],
    subject: str,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Write the tar of what `layers` show, topmost first: the container's upper directory, then its image's.
    `Invalid`, `Unsupported` for what no archive can hold. Sockets are left out."""
    entries = TreeEntries(subject, limits=limits)
    with opened(layers) as roots:
        for found in walk(roots, subject, limits, is_merged=True):
            refuse_elsewhere(found, subject)
            for entry, descriptor in entries.of(found):
                write_entry(write, entry, descriptor)
    write(END)
