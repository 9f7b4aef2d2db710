"""Several instances on one host that make networks at the same time: no two get one subnet."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from runtime.layout import Layout
from runtime.model import NetworkConfig
from runtime.network import links, range_lock, records
from runtime.network.netlink import Netlink
from runtime.network.networks import Networks
from runtime.network.remove import remove_all
from tests import leaks
from tests.kernel.network.conftest import Lab

NETWORKS = 6


@pytest.fixture
def other(lab: Lab) -> Iterator[Layout]:
    """Another instance on the same host."""
    layout = replace(lab.layout, instance=f"{lab.layout.instance}x")
    yield layout
    remove_all(layout)
    leaks.clean(layout)


def _make_some(layout: Layout) -> int:
    """In a process of its own, as an agent is one."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        networks = Networks(layout)
        networks.open()
        for number in range(NETWORKS):
            networks.create(NetworkConfig(f"n{number}"))
        code = 0
    finally:
        os._exit(code)


def _subnets() -> list[IPv4Network]:
    with Netlink() as netlink:
        routes = list(map(links.read_route, netlink.dump(links.get_routes())))
    return [IPv4Network((each.destination, each.prefix)) for each in routes if each.prefix == 24]


def test_no_two_get_one_subnet(lab: Lab, other: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    write = records.write

    def write_slowly(*arguments: object, **named: object) -> None:
        """The disk has other work."""
        write(*arguments, **named)  # type: ignore[arg-type]
        time.sleep(0.02)

    monkeypatch.setattr(records, "write", write_slowly)
    for child in [_make_some(layout) for layout in (lab.layout, other)]:
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    found = [each for each in _subnets() if not each.overlaps(IPv4Network("198.51.100.0/24"))]
    assert len(set(found)) == len(found) == 2 * NETWORKS, found


def test_who_holds_the_lock_is_not_waited_for_for_ever(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun = time.monotonic()
    with range_lock.alone(tmp_path), range_lock.alone(tmp_path):
        assert time.monotonic() - begun >= 1.0
    assert "another instance has been making a network" in caplog.text
    with range_lock.alone(tmp_path):
        pass
    assert len(caplog.records) == 1
