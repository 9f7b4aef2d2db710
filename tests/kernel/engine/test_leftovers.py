"""An engine that opens removes what a killed one left half done."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from runtime import cgroups
from runtime.container_index import BROKEN
from runtime.container_record import NAME
from runtime.errors import Conflict
from runtime.layout import Layout
from runtime.model import EndpointConfig, NetworkConfig, SandboxConfig
from tests.native import another_engine, config_of, native_engine, run

ID = "f" * 64


def leave(layout: Layout) -> list[Path]:
    """Directories, but for the last two."""
    left = [
        layout.run_containers / ID, layout.containers / ID, layout.volumes / ".gone-x",
        layout.images / "layers" / ID, layout.images / "ingest" / "x", layout.run / "hosts" / "x",
        layout.networks / "x.json.new",
    ]  # fmt: skip
    for path in left[:-2]:
        path.mkdir(parents=True)
    for path in left[-2:]:
        path.write_text("")
    return left


async def test_what_was_left_half_done_is_gone(instance: Layout, busybox_archive: Path) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        await engine.create_network(NetworkConfig("web"))
        await engine.close()
        left = leave(instance)
        cgroups.create(f"/{instance.cgroup_parent}/{ID}", {})
        link = instance.link_name("ve", "left")
        peer = instance.link_name("vf", "left")
        subprocess.run(["ip", "link", "add", link, "type", "veth", "peer", "name", peer], check=True)
        subprocess.run(["ip", "link", "set", link, "alias", f"{instance.instance}/web/x"], check=True)
        async with another_engine(instance):
            pass  # its end waits for what is removed beside it
        assert [str(path) for path in left if path.exists()] == []
        assert cgroups.existing(f"/{instance.cgroup_parent}/{ID}") == ()
        assert not Path("/sys/class/net", link).exists()


async def test_a_damaged_record_costs_no_file(instance: Layout, busybox_archive: Path) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        config = config_of(engine, "one", "true")
        await engine.create(config)
        await engine.close()
        bundle = instance.containers / config.id
        written = bundle / "upper" / "precious"
        written.parent.mkdir(exist_ok=True)
        written.write_text("data")
        (bundle / NAME).write_text('{"config": {"id": "of a newer Setpoint"')
        async with another_engine(instance) as second:
            assert second.list() == ()
        kept = list(instance.containers.glob(f"{BROKEN}*/upper/precious"))
        assert [path.read_text() for path in kept] == ["data"]
        async with another_engine(instance):
            assert kept[0].exists()


async def test_an_empty_record_is_none(instance: Layout, busybox_archive: Path) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        config = config_of(engine, "one", "true")
        await engine.create(config)
        await engine.close()
        (instance.containers / config.id / NAME).write_text("")
        async with another_engine(instance):
            assert list(instance.containers.iterdir()) == []


async def test_running_containers_without_any_bundle_are_left_alone(
    instance: Layout, busybox_archive: Path
) -> None:
    """As when the disk of the data directory is not mounted."""
    async with native_engine(instance, busybox_archive) as engine:
        await engine.create_network(NetworkConfig("web"))
        sandbox = SandboxConfig("own", "one", (EndpointConfig("web"),))
        config = config_of(engine, "one", "sleep", "1000", sandbox=sandbox)
        await run(engine, config)
        state = engine.state(config.id)
        assert state is not None and state.pid is not None
        await engine.close()
        away = instance.data.with_name(f"{instance.data.name}.away")
        instance.data.rename(away)
        try:
            with pytest.raises(Conflict, match="knows none of them"):
                async with another_engine(instance):
                    pass
            assert Path(f"/proc/{state.pid}").exists()
            assert (instance.netns / config.sandbox.id).exists()
        finally:
            shutil.rmtree(instance.data)
            away.rename(instance.data)
        async with another_engine(instance) as second:
            assert second.state(config.id) == state


async def test_images_without_an_index_are_kept(instance: Layout, busybox_archive: Path) -> None:
    async with native_engine(instance, busybox_archive) as engine:
        await engine.close()
        (instance.images / "index.json").rename(instance.images / "index.moved")
        before = sorted((instance.images / "blobs/sha256").iterdir())
        async with another_engine(instance):
            pass
        assert sorted((instance.images / "blobs/sha256").iterdir()) == before != []
