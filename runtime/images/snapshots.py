"""A container's root file system over its image: the value that is mounted, and its writable layer.

    prepare(images, image_id, container_dir) ─> Overlay ─> options ─> mount(2), by the runtime

Called by the engine when it writes a bundle. Makes two directories and mounts nothing, so that the
container's own mount namespace is the only place where the root ever appears.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import Invalid
from runtime.images.images import Images

MAX_OPTIONS_BYTES = 4095  # mount(2) takes one page, its NUL included
MAX_PARAMETER_BYTES = 255  # fsconfig(2), FSCONFIG_SET_STRING


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay mount: absolute paths, lower directories topmost first as overlayfs wants them."""

    lower: tuple[str, ...]
    upper: str
    work: str


def prepare(images: Images, image_id: str, container_dir: Path) -> Overlay:
    """Make `upper` and `work` in a container's directory. Doing it again changes nothing.

    `NotFound` when a layer of the image is missing.
    """
    lower = tuple(os.fspath(path) for path in reversed(images.layer_directories(image_id)))
    upper, work = container_dir / "upper", container_dir / "work"
    _make_upper(upper, images.root_attributes(image_id))
    work.mkdir(mode=0o700, exist_ok=True)
    return Overlay(lower or (_empty_lower(container_dir),), os.fspath(upper), os.fspath(work))


def mount_options(overlay: Overlay) -> str:
    """The data of mount(2). Longer than MAX_OPTIONS_BYTES, it needs `mount_parameters` instead."""
    lower = ":".join(map(_escape, overlay.lower))
    return f"lowerdir={lower},upperdir={_escape(overlay.upper)},workdir={_escape(overlay.work)}"


def mount_parameters(overlay: Overlay) -> tuple[tuple[str, str], ...]:
    """The same for fsconfig(2), one string each: any number of layers, from Linux 6.8 on."""
    parameters = (
        *(("lowerdir+", path) for path in overlay.lower),
        ("upperdir", overlay.upper),
        ("workdir", overlay.work),
    )
    for key, path in parameters:
        if len(path.encode()) > MAX_PARAMETER_BYTES:
            raise Invalid(
                "mount root",
                path,
                f"{key} is longer than {MAX_PARAMETER_BYTES} bytes",
                "use a shorter data directory",
            )
    return parameters


def descriptor_options(overlay: Overlay, descriptors: tuple[int, ...]) -> str:
    """Options for older kernels: every lower directory as an open descriptor (128 of them fit).

    descriptors: of `overlay.lower`, in order, open in the process that mounts, which has /proc.
    """
    lower = ":".join(f"/proc/self/fd/{descriptor}" for descriptor in descriptors)
    return f"lowerdir={lower},upperdir={_escape(overlay.upper)},workdir={_escape(overlay.work)}"


def _make_upper(upper: Path, root: tuple[int, int, int]) -> None:
    """The merged root shows the upper directory's mode and owner, so they are the image's."""
    try:
        upper.mkdir(mode=0o755)
    except FileExistsError:
        return  # the container may have changed its root since
    mode, uid, gid = root
    if uid or gid:
        os.chown(upper, uid, gid)
    upper.chmod(mode)


def _empty_lower(container_dir: Path) -> str:
    """An image of no layers: overlayfs wants one lower directory at least."""
    empty = container_dir / "empty"
    empty.mkdir(mode=0o755, exist_ok=True)
    return os.fspath(empty)


def _escape(path: str) -> str:
    """overlayfs splits lower directories at ':' and options at ','; it takes a backslash before them."""
    for character in ("\\", ",", ":"):
        path = path.replace(character, "\\" + character)
    return path
