"""A container's root file system over its image: the value that is mounted, and its writable layer.

    prepare(images, image_id, container_dir) ─> runtime.mounts.Overlay ─> the container's own mount

Called by the engine when it writes a bundle. Makes two directories and mounts nothing, so that the
container's mount namespace is the only place where its root ever appears.
"""

from __future__ import annotations

import os
from pathlib import Path

from runtime.errors import NotFound
from runtime.images.images import Images, Stack
from runtime.mounts import Overlay

UPPER = "upper"
WORK = "work"


def prepare(images: Images, image_id: str, container_dir: Path) -> Overlay:
    """Make `upper` and `work` in a container's directory. Doing it again changes nothing.

    Absolute paths, lower directories topmost first. `NotFound` when a layer or `container_dir` is missing.
    """
    return prepare_stack(images.stack(image_id), container_dir)


def prepare_stack(stack: Stack, container_dir: Path) -> Overlay:
    """The same over layers that need not be an image's: a step of a build."""
    base = os.fspath(container_dir)
    upper, work = f"{base}/{UPPER}", f"{base}/{WORK}"
    try:
        _make_upper(upper, stack.root)
        _make_directory(work)
    except FileNotFoundError:
        raise NotFound("prepare root", base, "the container's directory is not there") from None
    return Overlay(stack.lower or (_empty_lower(base),), upper, work)


def _make_upper(upper: str, root: tuple[int, int, int]) -> None:
    """The merged root shows the upper directory's mode and owner, so they are the image's."""
    if not _make_directory(upper):
        return  # the container may have changed its root since
    mode, uid, gid = root
    if uid or gid:
        os.chown(upper, uid, gid)
    if mode != 0o700:
        os.chmod(upper, mode)  # noqa: PTH101  strings all along: this runs for every container


def _make_directory(path: str) -> bool:
    """Whether it was made now."""
    try:
        os.mkdir(path, 0o700)  # noqa: PTH102
    except FileExistsError:
        return False
    return True


def _empty_lower(base: str) -> str:
    """For an image of no layers: overlayfs wants one lower directory at least."""
    _make_directory(f"{base}/empty")
    return f"{base}/empty"
