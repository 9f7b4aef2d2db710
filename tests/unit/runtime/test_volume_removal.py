"""A volume that goes: what is in it decides how, and nothing of it is left."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest

from runtime import engine as module
from runtime.engine import NativeEngine
from runtime.layout import Layout
from runtime.model import VolumeConfig
from runtime.volumes import Volumes


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout("gone", tmp_path / "lib", tmp_path / "run")


@pytest.fixture
def volumes(layout: Layout) -> Volumes:
    made = Volumes(layout)
    made.open()
    return made


def fill(volumes: Volumes, name: str) -> None:
    deep = volumes.path(name) / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "file").write_text("words")
    (volumes.path(name) / "link").symlink_to("/etc")


def record(volumes: Volumes, name: str) -> Path:
    return volumes.path(name).with_name("volume.json")


def test_a_new_record_is_whole(volumes: Volumes, layout: Layout) -> None:
    volumes.create(VolumeConfig("data", {"tier": "front"}))
    assert json.loads(record(volumes, "data").read_text())["labels"] == {"tier": "front"}
    assert sorted(os.listdir(layout.volumes / "data")) == ["_data", "volume.json"]


@pytest.mark.parametrize("left", ["", '{"labels": {"tier":'])
def test_one_that_a_kill_left_half_made_is_made_whole(layout: Layout, left: str) -> None:
    directory = layout.volumes / "data"
    directory.mkdir(parents=True)
    (directory / "volume.json").write_text(left)
    volumes = Volumes(layout)
    volumes.open()
    state = volumes.get("data")
    assert state is not None and dict(state.labels) == {}
    assert volumes.path("data").is_dir()


def test_what_is_in_it_is_seen(volumes: Volumes) -> None:
    for name in ("empty", "full", "filled"):
        volumes.create(VolumeConfig(name))
    volumes.create(VolumeConfig("memory", options={"type": "tmpfs", "device": "tmpfs"}))
    fill(volumes, "full")
    kept = json.loads(record(volumes, "filled").read_text())
    record(volumes, "filled").write_text(json.dumps({**kept, "is_filled": True}))
    volumes.open()
    names = ("empty", "full", "filled", "memory", "never made")
    assert [volumes.is_empty(name) for name in names] == [True, False, False, False, True]


async def test_only_what_is_in_one_takes_a_thread(
    volumes: Volumes, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    in_thread = asyncio.to_thread

    async def counted(function: object, *arguments: object) -> object:
        taken.append(str(arguments[0]))
        return await in_thread(function, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(module.asyncio, "to_thread", counted)
    engine = NativeEngine(layout)
    engine.volumes.open()
    for name in ("empty", "full"):
        await engine.create_volume(VolumeConfig(name))
    fill(engine.volumes, "full")
    for name in ("empty", "full", "never made"):
        await engine.delete_volume(name)
    assert taken == ["full"]
    assert (engine.list_volumes(), os.listdir(layout.volumes)) == ((), [])


def test_one_whose_record_somebody_removed_goes_as_well(volumes: Volumes, layout: Layout) -> None:
    volumes.create(VolumeConfig("data"))
    record(volumes, "data").unlink()
    volumes.delete("data")
    assert os.listdir(layout.volumes) == []


def test_what_a_kill_left_of_one_is_in_nobodys_way(volumes: Volumes, layout: Layout) -> None:
    for _ in range(2):  # the second time over what the first has left
        volumes.create(VolumeConfig("data"))
        fill(volumes, "data")
        assert volumes.hide("data")
        assert volumes.get("data") is None
    volumes.create(VolumeConfig("data"))
    volumes.delete("data")
    assert os.listdir(layout.volumes) == []
