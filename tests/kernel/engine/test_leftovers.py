"""An engine that opens removes what a killed one left half done."""

from __future__ import annotations

import subprocess
from pathlib import Path

from runtime import cgroups
from runtime.layout import Layout
from runtime.model import NetworkConfig
from tests.native import another_engine, native_engine

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
