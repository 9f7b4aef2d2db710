"""The roots of a build's states, mounted where nobody else sees them: in the build's own mount namespace.

    leave_host()                     once, before the first
    Roots.view(state)      ─> a descriptor, read-only
    Roots.writable(state)  ─> a descriptor, and the upper directory that becomes the step's layer

A killed build leaves no mount: they go with its namespace.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from runtime import mounts, syscalls
from runtime.images.build.keep import NO_ROOT, Keeper
from runtime.images.build.states import State
from runtime.images.images import Stack
from runtime.mounts import Overlay


@dataclass(frozen=True, slots=True)
class Writable:
    """root: a descriptor of the merged root. upper: what is changed in it."""

    root: int
    upper: Path


def leave_host() -> None:
    """A mount namespace of our own, which tells the host nothing. Before any thread is started."""
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mount("none", "/", "", syscalls.MS_REC | syscalls.MS_PRIVATE)


class Roots:
    """directory: the build's own, on the store's file system."""

    def __init__(self, keeper: Keeper, directory: Path) -> None:
        self._keeper = keeper
        self._directory = directory
        self._numbers = itertools.count(1)

    def stack(self, state: State) -> Stack:
        return self._keeper.stack(state)

    @contextlib.contextmanager
    def view(self, state: State) -> Iterator[int]:
        base = self._new("view")
        # overlayfs takes no single lower directory without an upper one
        lower = (*self.stack(state).lower, self._sub(base, "empty"), self._sub(base, "empty2"))
        with _mounted(Overlay(lower), base) as root:
            yield root

    @contextlib.contextmanager
    def writable(self, state: State, *, is_alone: bool = False) -> Iterator[Writable]:
        """is_alone: nothing of the state is below, as for COPY --link."""
        base = self._new("step")
        stack = Stack((), NO_ROOT) if is_alone else self.stack(state)
        upper, work = self._sub(base, "upper"), self._sub(base, "work")
        mode, uid, gid = stack.root
        os.chown(upper, uid, gid)
        os.chmod(upper, mode)  # noqa: PTH101
        lower = stack.lower or (self._sub(base, "empty"),)
        with _mounted(Overlay(lower, upper, work), base) as root:
            yield Writable(root, Path(upper))

    def _new(self, kind: str) -> Path:
        base = self._directory / f"{kind}-{next(self._numbers)}"
        base.mkdir(mode=0o700)
        return base

    def _sub(self, base: Path, name: str) -> str:
        (base / name).mkdir(mode=0o700)
        return os.fspath(base / name)


@contextlib.contextmanager
def _mounted(overlay: Overlay, base: Path) -> Iterator[int]:
    (base / "root").mkdir()
    target = os.open(base / "root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        tree = mounts.mount_overlay(overlay, target)
    finally:
        os.close(target)
    try:
        # A descriptor of the mount's root that files can be listed by: the one of fsmount(2) is O_PATH.
        root = os.open(base / "root", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield root
        finally:
            os.close(root)
    finally:
        os.close(tree)
        syscalls.umount2(os.fspath(base / "root"), syscalls.MNT_DETACH)
