"""Which containers have a volume: kept in step with the containers, so that nobody walks them all for it."""

from __future__ import annotations

from pathlib import Path

from runtime.container_index import ContainerIndex
from runtime.containers import Entry
from runtime.layout import Layout
from runtime.model import ContainerConfig, MountConfig, SandboxConfig


def entry(id: str, *volumes: str) -> Entry:
    mounts = tuple(MountConfig("volume", f"/{number}", name) for number, name in enumerate(volumes))
    return Entry(ContainerConfig(id, f"name-{id}", "image", SandboxConfig("host"), mounts=mounts), 0.0)


def test_the_holders_of_a_volume_are_the_containers_that_are_there(tmp_path: Path) -> None:
    index = ContainerIndex(Layout("test", tmp_path, tmp_path))
    one, two = entry("1", "a", "b"), entry("2", "b", "b")
    index.add(one)
    index.add(two)
    assert index.held_volumes() == {"a": ("1",), "b": ("1", "2")}
    index.drop(one)
    assert index.holders_of("a") == () and index.holders_of("b") == ("2",)
    index.drop(two)
    index.drop(two)
    assert index.held_volumes() == {} and index.holders_of("b") == ()
