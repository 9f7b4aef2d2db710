"""What a worker does with a container's files: its root into a pipe, what changed in it, an image of it.

    runtime.container_files ─ JSON on stdin ─> run(verb, images, told, report) ─> JSON on stdout

Called by `worker.main` alone. All of it reads what strangers wrote, and so has the worker's bounds.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.errors import Temporary
from runtime.images.container_commit import Commit
from runtime.images.content import write_all
from runtime.images.images import Images
from runtime.images.progress import Report
from runtime.images.root_diff import changes
from runtime.images.root_files import export_root

VERBS = ("export", "diff", "commit")
_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Told:
    """A change. path: text in which what is no UTF-8 is escaped (os.fsdecode)."""

    kind: str
    path: str


@dataclass(frozen=True, slots=True)
class Exported:
    """How long the tar was."""

    size_bytes: int


def run(verb: str, images: Images, told: dict[str, Any], report: Report) -> Sequence[Any]:
    match verb:
        case "export":
            return [_export(list(map(Path, told["layers"])), int(told["pipe"]), told["name"])]
        case "diff":
            upper, *lowers = map(Path, told["layers"])
            found = changes(upper, lowers, told["name"])
            return [Told(change.kind, os.fsdecode(change.path)) for change in found]
        case _:
            return [images.commit(Commit(**{**told, "changes": tuple(told["changes"])}), report)]


def _export(layers: Sequence[Path], pipe: int, name: str) -> Exported:
    """Small pieces go together: a header has 512 bytes. The end of the pipe is the caller's to see: what was
    read so far is a whole archive only when this returned."""
    waiting, done = bytearray(), 0

    def write(data: bytes) -> None:
        nonlocal done
        waiting.extend(data)
        done += len(data)
        if len(waiting) >= _BUFFER_BYTES:
            flush()

    def flush() -> None:
        write_all(pipe, bytes(waiting))
        waiting.clear()

    try:
        export_root(layers, write, name)
        flush()
    except BrokenPipeError:
        raise Temporary("export", name, "nobody reads it any more") from None
    finally:
        os.close(pipe)
    return Exported(done)
