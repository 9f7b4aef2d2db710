"""The collection of images is killed at each step that it takes on the disk: an image is whole or gone, what
was not to go is untouched, and the next look takes what is left."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from runtime.images.images import Images
from runtime.layout import Layout
from tests.registry import make_image

BASE = {"etc/base": b"b" * 5000}


def test_a_kill_at_each_step_leaves_whole_images_and_litter_that_goes(
    instance: Layout, tmp_path: Path
) -> None:
    pristine, layout = _store(tmp_path), Layout(instance.instance, tmp_path / "data", tmp_path / "run")
    outcomes: set[frozenset[str]] = set()
    step = 0
    while True:
        step += 1
        shutil.rmtree(layout.data, ignore_errors=True)
        shutil.copytree(pristine, layout.data, symlinks=True)
        was_killed = _collect_and_die(layout, step)
        images = Images(layout)
        left = {name for info in images.list() for name in info.names}
        outcomes.add(frozenset(left))
        assert "lab/kept:1" in left
        for info in images.list():  # whole: every layer is there with all that is in it
            assert all((tree / "etc").is_dir() for tree in images.layer_directories(info.id)[:1])
        images.remove_litter(in_use=())
        assert images.stock().litter_bytes == 0 and not images.litter(in_use=())
        kept = images.get("lab/kept:1")
        assert kept is not None and _content(images, kept.id) == BASE["etc/base"] + b"kept"
        if not was_killed:
            break
    assert step > 10
    assert outcomes == {frozenset({"lab/kept:1", "lab/a:1", "lab/b:1"}), frozenset({"lab/kept:1"})}


def _store(tmp_path: Path) -> Path:
    """Three images of a shared layer and one of their own; its data directory."""
    layout = Layout("tmaker", tmp_path / "made", tmp_path / "run")
    images = Images(layout)
    for name in ("kept", "a", "b"):
        (info,) = images.load(make_image(tmp_path / name, [BASE, {"own": name.encode()}]))
        images.tag(info.id, f"lab/{name}:1")
    return layout.data


def _content(images: Images, id: str) -> bytes:
    lowest, top = images.layer_directories(id)
    return (lowest / "etc/base").read_bytes() + (top / "own").read_bytes()


def _collect_and_die(layout: Layout, step: int) -> bool:
    """In a process of its own that is killed before its n-th step; whether it got that far."""
    child = os.fork()
    if not child:
        try:
            _die_before(step)
            images = Images(layout)
            going = {info.id: info.names for info in images.list() if "lab/kept:1" not in info.names}
            images.forget(going, in_use=())
            images.remove_litter(in_use=())
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _die_before(step: int) -> None:
    taken = 0

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == step:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)

        return call

    for name in ("rename", "unlink", "rmdir", "fsync", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))
