"""Each kind of thing that may be amiss is planted on purpose, and is named; a healthy instance gives none."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent import checker
from agent.checker import checks, seen
from agent.checker.seen import Seen
from runtime.layout import Layout
from tests.e2e.story import Story
from tests.kernel.checker import plants
from tests.kernel.checker.plants import Plant, gone, row, stray

PLANTS = (
    Plant("a veth with our alias", plants.veth, "leaked", "link {veth}"),
    Plant("a link on our bridge", plants.port_of_bridge, "leaked", "link {veth}"),
    Plant("a network namespace", plants.namespace, "leaked", "mount {run}/netns/planted"),
    Plant("a second mount of one", plants.second_mount, "leaked", "mount {run}/netns/"),
    Plant("a mount in the data directory", plants.mount, "leaked", "mount {data}/volumes/shop_data"),
    Plant("a loop device", plants.loop_device, "leaked", "loop device /dev/loop"),
    Plant("a map element", plants.table_element, "leaked", "nft element published4: 6 1234 -> 10.9.9.9:80"),
    Plant("control groups", plants.groups, "leaked", "cgroup "),
    Plant("a process in one", plants.process_in_group, "leaked", "process "),
    Plant("work for nobody", plants.work_for_nobody, "leaked", "process "),
    Plant("an image worker", plants.orphan_worker, "leaked", "process "),
    Plant("a run directory", stray("{run}/containers/{id}/"), "leaked", "directory {run}/containers/{id}"),
    Plant("a hosts file", stray("{run}/hosts/planted"), "leaked", "file {run}/hosts/planted"),
    Plant("half a record", stray("{run}/.x.new"), "leaked", "file {run}/.x.new"),
    Plant("a socket's name", stray("{run}/supervisor.sock.9"), "leaked", "file {run}/supervisor.sock.9"),
    Plant("half a bundle", stray("{data}/containers/{id}/"), "leaked", "directory {data}/containers/{id}"),
    Plant("half a removal", stray("{data}/containers/.gone-{id}/"), "leaked", ".gone-{id}"),
    Plant("half a network", stray("{data}/networks/x.json.new"), "leaked", "file {data}/networks/x.json.new"),
    Plant("half a volume's removal", stray("{data}/volumes/.gone-x/"), "leaked", "volumes/.gone-x"),
    Plant("half a volume's filling", stray("{data}/volumes/shop_data/.filling/"), "leaked", "/.filling"),
    Plant("a layer", stray("{data}/images/layers/{id}/"), "leaked", "directory {data}/images/layers/{id}"),
    Plant("a blob", stray("{data}/images/blobs/sha256/{id}"), "leaked", "images/blobs/sha256/{id}"),
    Plant("a load", stray("{data}/images/ingest/x/"), "leaked", "directory {data}/images/ingest/x"),
    Plant("a name of nobody's", stray("{data}/planted"), "leaked", "file {data}/planted"),
    Plant("one in the run directory", stray("{run}/planted/"), "leaked", "directory {run}/planted"),
    Plant("one in a bundle", stray("{bundle}/planted"), "leaked", "file {bundle}/planted"),
    Plant("one in a volume", stray("{data}/volumes/shop_data/x"), "leaked", "volumes/shop_data/x"),
    Plant("one of a container's run", stray("{run_of_b}/planted"), "leaked", "file {run_of_b}/planted"),
    Plant("a lease of an address", plants.lease, "leaked", "sandbox planted"),
    Plant("a status without an object", row("objects", "b"), "leaked", "row statuses shop/container/b"),
    Plant("a container without an object", row("objects", "b"), "leaked", "container shop-b-1"),
    Plant("two of one replica", plants.second_replica, "doubled", "replica shop/container/b#1"),
    Plant("two first processes", plants.second_init, "doubled", "container shop-a-1"),
    Plant("two supervisors", plants.second_supervisor, "doubled", "supervisor of {instance}"),
    Plant("another limit", plants.limit, "wrong", "container shop-a-1 limit memory"),
    Plant("outside its group", plants.process_elsewhere, "wrong", "container shop-b-1 cgroup /"),
    Plant("no config", gone(plants.config_path), "wrong", "container shop-b-1 file config.json"),
    Plant("no volume", plants.volume_unmounted, "wrong", "container shop-a-1 mount /data"),
    Plant("no published port", plants.element_gone, "wrong", "nft element published"),
    Plant("another rule", plants.rule, "wrong", "nft table {instance}"),
    Plant("no table", plants.table_gone, "wrong", "nft table inet {instance}"),
    Plant("no guard", plants.guard_gone, "wrong", "nft table bridge {instance}"),
    Plant("a port that is not guarded", plants.guard_element_gone, "wrong", "nft element guarded"),
    Plant("a bridge that is down", plants.bridge_down, "wrong", "network shop_other"),
    Plant("another hosts file", plants.hosts_file, "wrong", "hosts of shop-b-1"),
    Plant("another spec", row("objects", "b", spec={"hostname": "x"}), "wrong", "container shop-b-1"),
    Plant("another limit wanted", row("objects", "a", spec={"mem_limit": 48 << 20}), "wrong", "shop-a-1"),
    Plant("no bundle", gone(lambda own: plants.bundle_path(own)), "lost", "container/b#1"),
    Plant("no process", plants.dead_process, "lost", "shop/container/b#1"),
    Plant("no network", gone(lambda own: own.networks / "shop_other.json"), "lost", "shop/network/other"),
    Plant("no volume's directory", gone(lambda own: own.volumes / "shop_data"), "lost", "shop/volume/data"),
    Plant("an end that nobody noted", plants.dead_process, "stuck", "container shop-b-1"),
    Plant("a creation under way", plants.half_created, "stuck", "shop/container/b"),
    Plant("a removal under way", row("objects", "b", deleting=1), "stuck", "shop/container/b"),
    Plant("a generation not reached", row("objects", "b", generation=99), "stuck", "shop/container/b"),
    Plant("an object never looked at", row("statuses", "b"), "stuck", "shop/container/b"),
)  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: plant.name)
def test_what_is_planted_is_named(planted: Story, plant: Plant) -> None:
    subject = plant.subject.format(**plants.names(planted.layout))
    with plant.put(planted.layout):
        found = checker.check(planted.layout, patience_seconds=0.05)
    assert [each for each in found if each.kind == plant.kind and subject in each.subject], found


def test_what_a_killed_agent_did_and_had_not_stored_yet_is_not_stuck(planted: Story) -> None:
    with row("statuses", "b", phase="Creating")(planted.layout):
        assert checker.check(planted.layout, patience_seconds=0.05) == ()


def test_a_log_that_became_shorter_is_lost(planted: Story) -> None:
    layout = planted.layout
    before = checker.take(layout)
    log = layout.containers / plants.bundle(layout, "b").id / "log" / "log"
    data = log.read_bytes()
    log.write_bytes(data[:-3])
    found = checker.check(layout, before, patience_seconds=0.05)
    log.write_bytes(data)
    assert [each.identity for each in found] == [("lost", "log of shop-b-1")]


def test_a_database_that_cannot_be_read_is_lost(tmp_path: Path) -> None:
    layout = Layout("tdamaged", tmp_path, tmp_path / "run")
    layout.data.mkdir()
    layout.database.write_bytes(b"no database" * 1000)
    assert [each.identity for each in checker.check(layout, patience_seconds=0.0)] == [("lost", "database")]


def test_nothing_is_an_instance_too() -> None:
    assert checker.check(Layout("tnothere")) == ()


def test_doctor_names_it_and_fails(planted: Story) -> None:
    veth = plants.names(planted.layout)["veth"]
    assert "nothing is lost" in planted.setpoint("doctor", "--leaks")
    with plants.veth(planted.layout):
        told = planted.setpoint("doctor", "--leaks", code=1)
        data = json.loads(planted.setpoint("doctor", "--leaks", "-o", "json", code=1))
    assert f"leaked  link {veth}" in told and f"ip link delete {veth}" in told
    assert [(each["kind"], each["subject"]) for each in data] == [("leaked", f"link {veth}")]
    assert "no network or sandbox has it" in data[0]["message"]


def test_a_restart_without_need_is_touched_and_one_with_need_is_not(healthy: Story) -> None:
    healthy.start_agent()
    try:
        healthy.setpoint("wait", "--for", "ready", "--timeout", "30s")
        before = checker.take(healthy.layout)
        os.kill(before.containers["shop-a-1"].pid, signal.SIGKILL)  # it dies: that it is restarted is right
        healthy.setpoint("restart", "shop/b")
        healthy.setpoint("wait", "--for", "ready", "--timeout", "30s")
        found = checker.check(healthy.layout, before)
    finally:
        healthy.setpoint("agent", "stop")
    assert [each.identity for each in found] == [("touched", "container shop-b-1")]


def test_what_is_well_is_looked_at_once(planted: Story, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look, and the pause before it, would make a walk over all fail points an hour longer."""
    looks = []

    def look(layout: Layout) -> Seen:
        looks.append(layout)
        return seen.look(layout)

    monkeypatch.setattr(checks, "looking", SimpleNamespace(look=look))
    assert checker.check(planted.layout) == ()
    assert looks == [planted.layout]
