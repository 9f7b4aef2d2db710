"""The monitor: damage wakes it, work of our own leaves it quiet, a flood does not fill memory."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Iterator

import pytest

from runtime.model import PortConfig
from runtime.network.monitor import Hint, Monitor
from tests.kernel.network.conftest import LAN_ADDRESS, Lab, run


@pytest.fixture
def monitor(lab: Lab) -> Iterator[Monitor]:
    made = lab.networks.monitor()
    yield made
    made.close()


def _wait(monitor: Monitor) -> frozenset[Hint]:
    """The first hints within a second."""
    poll = select.poll()
    poll.register(monitor, select.POLLIN)
    for _ in range(20):
        if poll.poll(1000):
            hints = monitor.read()
            if hints:
                return hints
    return frozenset()


async def test_own_work_leaves_no_hints(lab: Lab, monitor: Monitor) -> None:
    lab.network("web")
    for number in range(5):
        await lab.sandbox(f"s{number}", "web", ports=(PortConfig(80, 8080 + number),))
    assert {hint for hint in monitor.read() if hint.kind != "forwarding"} == set()
    for number in range(5):
        await lab.networks.delete_sandbox(f"s{number}")
    await lab.networks.delete("web")
    assert monitor.read() == frozenset()


async def test_damage_wakes_it(lab: Lab, monitor: Monitor) -> None:
    lab.network("web")
    await lab.sandbox("one", "web")
    bridge = lab.networks.list()[0].bridge
    link = lab.networks._instance.book.sandboxes["one"].endpoints[0].link
    monitor.read()

    run("ip", "link", "set", link, "nomaster")
    assert _wait(monitor) == {Hint("sandbox", "one")}
    run("ip", "link", "set", link, "master", bridge)
    run("ip", "link", "set", link, "down")
    assert Hint("sandbox", "one") in _wait(monitor)
    run("ip", "link", "delete", link)
    assert Hint("sandbox", "one") in _wait(monitor)
    run("ip", "address", "flush", "dev", bridge)
    assert Hint("network", "web") in _wait(monitor)
    run("ip", "link", "set", bridge, "down")
    assert Hint("network", "web") in _wait(monitor)
    run("ip", "link", "delete", bridge)
    assert Hint("network", "web") in _wait(monitor)
    run("sysctl", "-w", "net.ipv4.ip_forward=0")
    assert Hint("forwarding") in _wait(monitor)


@pytest.mark.parametrize(
    "how",
    [
        "flush ruleset", "delete table inet TABLE", "flush chain inet TABLE ours",
        "delete table bridge TABLE", "flush chain bridge TABLE honest",
    ],
)  # fmt: skip
async def test_somebody_elses_transaction_wakes_it(lab: Lab, monitor: Monitor, how: str) -> None:
    lab.network("web")
    monitor.read()
    run("nft", *how.replace("TABLE", lab.layout.nft_table).split())
    assert _wait(monitor) == {Hint("firewall")}


async def test_other_tables_and_links_do_not_concern_it(lab: Lab, monitor: Monitor) -> None:
    lab.network("web")
    monitor.read()
    run("nft", "add", "table", "inet", "somebody")
    run("ip", "link", "add", "x1", "type", "veth", "peer", "name", "x2")
    run("ip", "address", "add", "192.0.2.1/24", "dev", "x1")
    run("ip", "link", "delete", "x1")
    assert monitor.read() == frozenset()


async def test_flood_ends_in_overflow_and_then_it_works_again(lab: Lab, monitor: Monitor) -> None:
    lab.network("web")
    monitor.read()
    lines = "".join(f"route add 10.{n >> 8}.{n & 255}.0/24 via {LAN_ADDRESS}\n" for n in range(8000))
    subprocess.run(["ip", "-batch", "-"], input=lines.encode(), check=True)
    assert Hint("overflow") in monitor.read()
    while monitor.read():
        pass
    run("nft", "flush", "ruleset")
    assert _wait(monitor) == {Hint("firewall")}


async def test_descriptors(lab: Lab) -> None:
    before = len(os.listdir("/proc/self/fd"))
    made = lab.networks.monitor()
    made.close()
    assert len(os.listdir("/proc/self/fd")) == before
