"""The root file system of a container as a tar: its writable layer over its image, and no mounts.

    export_root([upper, lower, ...], write, subject)

Reads the layers' directories and not the container's mounts: it does not matter whether the container runs,
what it has mounted where, or which ids it was given, for on the disk are its own. Called in a worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from runtime.images.layer_writer import TreeEntries
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.tarwriter import END, Send, send_nothing
from runtime.images.walk import opened, walk


def export_root(
    layers: Sequence[Path],
    write: Callable[[bytes], object],
    subject: str,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """Write the tar of what `layers` show, topmost first: the container's upper directory, then its image's.
    `Invalid`, `Unsupported` for what no archive can hold. Sockets are left out."""
    with opened(layers) as roots:
        export_opened(roots, write, subject, limits=limits)


def export_opened(
    roots: Sequence[int],
    write: Callable[[bytes], object],
    subject: str,
    send: Send = send_nothing,
    limits: Limits = DEFAULT_LIMITS,
) -> None:
    """The same of layers that are open. send: as for `tarwriter.write_entry`."""
    entries = TreeEntries(subject, write, send, limits=limits, is_of_overlay=True)
    for found in walk(roots, subject, limits, is_merged=True):
        entries.add(found, found.path)
    write(END)
