"""What a killed agent, supervisor or command left half done, removed when an engine opens.

`clear` is quick and runs before anything new is made; `sweep` may take long (trees of layers and volumes) and
runs beside the engine. Called by `engine` alone. What cannot be removed stays, and `doctor --leaks` names it.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from runtime import cgroups, side_groups
from runtime.errors import Conflict, SetpointError
from runtime.images.images import Images
from runtime.layout import Layout
from runtime.removal import remove_tree

_CGROUP_SECONDS = 1.0
# The agent's own; the supervisor's are the supervisor's to remove.
_BUNDLE_FILES, _RUN_FILES, _VOLUME_FILES = (".container.json.new",), (".config.json.new",), ("volume.new",)


def clear(layout: Layout, containers: Collection[str]) -> None:
    """Control groups and run directories without a container, workers of an agent that ended, and files that
    were being written. containers: the ids of those that there are; nobody may make another one meanwhile."""
    _clear_groups(layout, containers)
    for name in layout.side_cgroups:
        with contextlib.suppress(SetpointError, OSError):
            side_groups.remove(f"/{name}")
    for name in _names(layout.run_containers):
        if name not in containers:
            with contextlib.suppress(OSError):
                remove_tree(layout.run_containers / name)
    for directory, files in (
        (layout.containers, _BUNDLE_FILES),
        (layout.run_containers, _RUN_FILES),
        (layout.volumes, _VOLUME_FILES),
    ):
        for name in _names(directory):
            for file in files:
                with contextlib.suppress(OSError):
                    (directory / name / file).unlink()
    for name in _names(layout.networks):
        if name.endswith(".new"):
            with contextlib.suppress(OSError):
                (layout.networks / name).unlink()


def check_bundles(layout: Layout, containers: Collection[str]) -> None:
    """Conflict when containers run and none has a bundle: then it is the bundles that are missing, and all
    that goes by them would take what runs for rubbish. Before anything is removed."""
    parent = f"/{layout.cgroup_parent}"
    if not containers and any(cgroups.list_pids(f"{parent}/{name}") for name in _groups(layout)):
        raise Conflict(
            "open engine", layout.instance, f"containers run, and {layout.containers} knows none of them",
            f"is the disk of {layout.data} mounted? `setpoint down` ends them",
        )  # fmt: skip


def _clear_groups(layout: Layout, containers: Collection[str]) -> None:
    """First whoever lives there: a process whose container is gone is nobody's."""
    parent = f"/{layout.cgroup_parent}"
    for name in _groups(layout) - set(containers):
        with contextlib.suppress(SetpointError, OSError):
            cgroups.kill(f"{parent}/{name}")
            cgroups.delete(f"{parent}/{name}", _CGROUP_SECONDS)


def _groups(layout: Layout) -> set[str]:
    parent = f"/{layout.cgroup_parent}"
    return {name for directory in cgroups.existing(parent) for name in _directories(directory)}


def sweep(layout: Layout, images: Images, in_use: Collection[str]) -> None:
    """Volumes that are half removed, and what no image needs. in_use: ids of images that containers have."""
    for name in _names(layout.volumes):
        if name.startswith(".gone-"):
            mine = layout.volumes / f".gone-.{os.getpid()}-{name[6:]}"  # no volume's name begins with a dot
            with contextlib.suppress(OSError):
                (layout.volumes / name).rename(mine)
                remove_tree(mine)
    with contextlib.suppress(SetpointError, OSError):
        images.remove_litter(in_use=in_use)


def _names(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _directories(path: str) -> list[str]:
    with contextlib.suppress(OSError), os.scandir(path) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    return []
