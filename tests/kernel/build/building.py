"""What tests of builds share: a build on a real engine, what it said, and the tree that it came to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runtime.builds import new_id
from runtime.engine import NativeEngine
from runtime.images.build.order import BuildOrder
from runtime.model import ImageInfo
from tests.kernel.images.trees import Facts, describe, overlay


@dataclass
class Built:
    """events: all that the build said. id: of the build."""

    id: str
    events: list[Mapping[str, Any]] = field(default_factory=list)
    image: ImageInfo | None = None

    @property
    def output(self) -> str:
        return "\n".join(str(event["text"]) for event in self.events if event["kind"] == "log")

    @property
    def texts(self) -> dict[int, str]:
        return {event["step"]: str(event["text"]) for event in self.events if event["kind"] == "step"}

    def ended(self, how: str) -> list[str]:
        """The instructions that ended so: "done" were run, "cached" were there."""
        steps = [event["step"] for event in self.events if event["kind"] == "end" and event["how"] == how]
        return [self.texts[step] for step in steps]

    @property
    def found(self) -> ImageInfo:
        assert self.image is not None
        return self.image


async def build(engine: NativeEngine, context: Path | None, dockerfile: str = "", **fields: Any) -> Built:
    """Raises what the build raises; what it said until then is in the error's `built`."""
    if context is not None:
        fields |= {"context_kind": "directory", "context": str(context)}
    if dockerfile:
        fields["dockerfile_text"] = dockerfile
    built = Built(new_id())
    try:
        built.image = await engine.builds.run(BuildOrder(built.id, **fields), built.events.append)
    except Exception as error:
        error.built = built  # type: ignore[attr-defined]
        raise
    return built


def write(directory: Path, files: Mapping[str, str | bytes]) -> Path:
    """Files below a new directory; a name that ends in / is a directory."""
    for name, content in files.items():
        path = directory / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


@contextlib.contextmanager
def root_of(engine: NativeEngine, image: ImageInfo, mountpoint: Path) -> Iterator[Path]:
    """An image's root, merged."""
    lower = engine.images.stack(image.id).lower if image.layers else ()
    empty = mountpoint.with_name(f"{mountpoint.name}-empty")
    empty.mkdir(exist_ok=True)
    with overlay(mountpoint, (*lower, os.fspath(empty))) as root:
        yield root


def tree_of(engine: NativeEngine, image: ImageInfo, mountpoint: Path) -> Facts:
    """Of an image's merged root, without times, and without the root itself."""
    with root_of(engine, image, mountpoint) as root:
        facts = describe(root, times=False)
    facts.pop(".")
    return facts
