"""H6: whoever may commit is not root. The rules are in unit/policy; here, links that a container plants in
what it was given, for the next bind mount to follow."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.policy.judge import bind_root
from agent.policy.read import read_policy
from runtime.engine import NativeEngine
from runtime.errors import Invalid, SetpointError
from runtime.model import ContainerConfig, MountConfig, VolumeConfig
from tests.native import ended, output, run, shell, until


@pytest.fixture
def given(tmp_path: Path) -> Path:
    path = tmp_path / "given"
    path.mkdir()
    return path


def looking(engine: NativeEngine, given: Path, source: Path, *, make: bool = False) -> ContainerConfig:
    """A container that lists what it gets of a source, under a policy that allows `given`."""
    data = f"apiVersion: setpoint/v1\nkind: Policy\nallow: {{binds: [{given}]}}\n".encode()
    below = bind_root(read_policy(data, "policy"), str(source))
    mount = MountConfig("bind", "/given", str(source), create_host_path=make, below=below)
    return shell(engine, "box", "ls /given; touch /given/hello", mounts=(mount,))


@pytest.mark.parametrize("link", ["{canary}", "../canary", "/proc/1/root{canary}"])
async def test_h6_a_link_does_not_lead_a_bind_out(
    engine: NativeEngine, canary: Path, given: Path, link: str
) -> None:
    (given / "x").symlink_to(link.format(canary=canary))
    with pytest.raises(Invalid, match="without leaving"):
        await engine.create(looking(engine, given, given / "x"))


async def test_h6_nor_one_that_is_planted_later(engine: NativeEngine, canary: Path, given: Path) -> None:
    (given / "x").mkdir()
    config = looking(engine, given, given / "x")
    await engine.create(config)
    (given / "x").rmdir()
    (given / "x").symlink_to(canary)
    with pytest.raises(SetpointError):
        await engine.start(config.id)


async def test_h6_a_link_makes_nothing_outside(engine: NativeEngine, canary: Path, given: Path) -> None:
    """It is as if the given directory were the root: what the link names is made in there."""
    (given / "x").symlink_to(canary)
    await run(engine, looking(engine, given, given / "x" / "new", make=True))
    assert (given / canary.relative_to("/") / "new").is_dir()


async def test_h6_what_lies_inside_is_given(engine: NativeEngine, given: Path) -> None:
    (given / "real").mkdir()
    (given / "real" / "marker").touch()
    (given / "x").symlink_to("real")
    config = looking(engine, given, given / "x", make=True)
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    assert output(engine, config.id) == b"marker\n"
    assert (given / "real" / "hello").exists()


async def volume_of(engine: NativeEngine, given: Path, source: Path) -> ContainerConfig:
    """The same of a volume whose options have the source mounted."""
    below = looking(engine, given, source).mounts[0].below
    options = {"type": "none", "o": "bind", "device": str(source)}
    await engine.create_volume(VolumeConfig("data", {}, options, below))
    return shell(
        engine, "box", "ls /given; touch /given/hello", mounts=(MountConfig("volume", "/given", "data"),)
    )


@pytest.mark.parametrize("link", ["{canary}", "../canary", "/proc/1/root{canary}"])
async def test_h6_a_link_does_not_lead_a_volume_out(
    engine: NativeEngine, canary: Path, given: Path, link: str
) -> None:
    config = await volume_of(engine, given, given / "x")
    (given / "x").mkdir()
    await engine.create(config)
    await until(lambda: not engine.volume_mounts._chores)
    (given / "x").rmdir()
    (given / "x").symlink_to(link.format(canary=canary))
    with pytest.raises(SetpointError, match="failed to mount local volume"):
        await engine.start(config.id)


async def test_h6_removal_of_a_volume_takes_nothing_of_the_host(
    engine: NativeEngine, canary: Path, given: Path
) -> None:
    (given / "kept").touch()
    config = await volume_of(engine, given, given)
    await run(engine, config)
    await ended(engine, config.id)
    await engine.delete(config.id)
    await engine.delete_volume("data")
    assert sorted(path.name for path in given.iterdir()) == ["hello", "kept"]
