"""How many compiled filters there are: as many as containers have, and some that were of use before.

A client that sends another profile with each container would fill the disk with what is compiled of them.
Called by `assembly` when it has compiled another; a filter that is gone is compiled again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Collection, Iterator
from pathlib import Path

from runtime.supervisor.prepare import SECCOMP

MOST_SPARE = 64


def is_full(directory: str, in_use: int) -> bool:
    """in_use: how many there were in use at the last look."""
    with os.scandir(directory) as entries:
        return sum(1 for each in entries if each.name.endswith(".bpf")) > MOST_SPARE + 2 * in_use


def clear(directory: str, run_containers: str, config: str, kept: Collection[str]) -> int:
    """Remove those that no container's config names, nor kept; how many stay. A config is there before its
    container is started, and as long as its run directory is."""
    used = {*kept, *_named(run_containers, config)}
    stay = 0
    with os.scandir(directory) as entries:
        for each in entries:
            if not each.name.endswith(".bpf"):
                continue
            if each.path in used:
                stay += 1
                continue
            with contextlib.suppress(FileNotFoundError):
                os.unlink(each.path)  # noqa: PTH108
    return stay


def _named(run_containers: str, config: str) -> Iterator[str]:
    with contextlib.suppress(FileNotFoundError), os.scandir(run_containers) as entries:
        for each in entries:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                found = json.loads(Path(each.path, config).read_bytes())
                yield str(found.get("annotations", {}).get(SECCOMP, ""))
