"""What a killed agent or supervisor may leave half done is gone once the next one has started."""

from __future__ import annotations

from pathlib import Path

from agent import checker
from runtime import syscalls
from runtime.layout import Layout
from tests.e2e.story import Story
from tests.kernel.checker import plants

LEFT = (
    "{run}/containers/{id}/",
    "{run}/containers/{b}/.config.json.new",
    "{run}/hosts/x",
    "{run}/sandboxes/x.json.new",
    "{run}/sandboxes/x.json",
    "{data}/containers/{id}/",
    "{data}/containers/.gone-{id}/",
    "{data}/containers/{b}/.container.json.new",
    "{data}/networks/x.json.new",
    "{data}/volumes/.gone-x/",
    "{data}/volumes/shop_data/volume.new",
    "{data}/volumes/shop_data/.filling/",
    "{data}/images/layers/{id}/",
    "{data}/images/layers/.gone-x/",
    "{data}/images/blobs/sha256/{id}",
    "{data}/images/.index.json.9.part",
    "{data}/images/ingest/x/",
)


def put_files(layout: Layout) -> None:
    named = {**plants.names(layout), "b": plants.bundle(layout, "b").id}
    for text in LEFT:
        path = Path(text.format(**named))
        path.parent.mkdir(parents=True, exist_ok=True)
        if text.endswith("/"):
            path.mkdir()
        else:
            path.write_text("{}")


def put_in_kernel(layout: Layout) -> None:
    """Without a way back: the agent is to take them away."""
    name = plants.names(layout)["veth"]
    plants.run("ip", "link", "add", name, "type", "veth", "peer", "name", layout.link_name("vf", "planted"))
    plants.run("ip", "link", "set", name, "alias", f"{layout.instance}/shop_other/x")
    path = layout.netns / "planted"
    path.touch()
    syscalls.mount("/proc/self/ns/net", str(path), None, syscalls.MS_BIND)
    for group in plants.groups_of(layout, "b"):
        Path(group.path).with_name(plants.ID).mkdir()
    plants.run("nft", "add", "element", "inet", layout.nft_table, "published4 { tcp . 1234 : 10.9.9.9 . 80 }")


def test_a_start_removes_what_was_left_half_done(healthy: Story) -> None:
    before = checker.take(healthy.layout)
    put_files(healthy.layout)
    put_in_kernel(healthy.layout)
    found = {each.subject for each in checker.check(healthy.layout, patience_seconds=0.0)}
    assert len(found) >= len(LEFT)
    healthy.start_agent()
    try:
        left = checker.check(healthy.layout, before, patience_seconds=5.0)
        assert left == (), "\n".join(map(str, left))
    finally:
        healthy.setpoint("agent", "stop")
