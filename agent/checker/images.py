"""What of the image store no image, container or load needs. Reads only; beside the store's own code, which
knows what an image needs (`runtime.images`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.checker.disk import Disk
from runtime.images.build.order import LOCK
from runtime.images.images import Images
from runtime.layout import Layout


@dataclass(frozen=True, slots=True)
class ImageLitter:
    """path -> why nothing explains it. builds: those that are under way."""

    strays: Mapping[str, str] = field(default_factory=dict)
    builds: frozenset[str] = frozenset()


def read_image_litter(layout: Layout, disk: Disk) -> ImageLitter:
    root = layout.images
    if not root.is_dir():
        return ImageLitter()
    strays: dict[str, str] = {}
    in_use = {bundle.config.image for bundle in disk.bundles.values()} - {""}
    for path in Images(layout).litter(in_use=in_use):
        strays[str(path)] = "no image needs it"
    stages, runs = _names(root / "ingest"), _names(layout.run_builds)
    held = _held_locks() if stages or runs else frozenset()
    for name in stages:
        stage = root / "ingest" / name
        if not _is_held(stage / "lock", held):
            strays[str(stage)] = "a load that was broken off"
    builds = frozenset(name for name in runs if _is_held(layout.run_builds / name / LOCK, held))
    for name in set(runs) - builds:
        strays[str(layout.run_builds / name)] = "a build that was broken off"
    return ImageLitter(strays, builds)


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _held_locks() -> frozenset[str]:
    """Inodes of files that somebody holds a lock of flock(2) on (/proc/locks, proc(5))."""
    with open("/proc/locks") as file:  # noqa: PTH123 - one look of many
        return frozenset(line.split()[5].rpartition(":")[2] for line in file if "FLOCK" in line)


def _is_held(lock: Path, held: frozenset[str]) -> bool:
    try:
        return str(lock.stat().st_ino) in held
    except OSError:
        return False
