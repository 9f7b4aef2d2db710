"""A box with ids of its own, as the engine makes it: without a network of its own, for which it needs one."""

from __future__ import annotations

import os

import pytest

from runtime.id_ranges import END, SIZE
from runtime.supervisor.own_ids import IDS
from runtime.user_namespaces import mapping
from tests.kernel.runtime.conftest import Box

FIRST = END - SIZE  # any range will do: these boxes have no instance that would claim one

KERNEL = tuple(int(number) for number in os.uname().release.split("-")[0].split(".")[:2])
needs_mapped_tmpfs = pytest.mark.skipif(
    KERNEL < (6, 3), reason="owners of files on a tmpfs are mapped from Linux 6.3 on"
)


def give_ids(box: Box, first: int = FIRST) -> Box:
    linux = box.config["linux"]
    linux["uidMappings"] = linux["gidMappings"] = mapping(first)
    linux["namespaces"].append({"type": "user"})
    box.config["annotations"][IDS] = "own"
    return box


def owner(path: object) -> tuple[int, int]:
    """As it is on the disk."""
    found = os.lstat(str(path))
    return found.st_uid, found.st_gid
