"""A bridge by the name that was asked for: ours, or nobody's to touch."""

from __future__ import annotations

import json
import subprocess

import pytest

from runtime.errors import Conflict, Invalid
from runtime.model import NetworkConfig
from runtime.network.remove import remove_all
from tests.kernel.network.conftest import Lab

NAMED = NetworkConfig("front", bridge="shop0")


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def names() -> set[str]:
    return {link["ifname"] for link in json.loads(ip("-j", "link"))}


async def test_it_comes_stays_over_a_restart_and_goes(lab: Lab) -> None:
    assert lab.networks.create(NAMED).bridge == "shop0"
    lab.networks.create(NAMED)
    lab.reopen()
    assert lab.networks.list()[0].bridge == "shop0" and "shop0" in names()
    await lab.networks.delete("front")
    assert "shop0" not in names() and lab.networks.list() == ()


@pytest.mark.parametrize("kind", ["veth", "bridge"])
async def test_another_s_link_is_left_alone(lab: Lab, kind: str) -> None:
    ip("link", "add", "shop0", "type", kind, *(["peer", "name", "shop1"] if kind == "veth" else []))
    with pytest.raises(Conflict, match="a link shop0 is there, and is not this network's"):
        lab.networks.create(NAMED)
    assert lab.networks.list() == () and "shop0" in names()
    assert not (lab.layout.networks / "front.json").exists()


async def test_two_networks_do_not_share_one(lab: Lab) -> None:
    lab.networks.create(NAMED)
    with pytest.raises(Conflict, match="a link shop0 is there"):
        lab.networks.create(NetworkConfig("back", bridge="shop0"))
    with pytest.raises(Conflict, match="another configuration"):
        lab.networks.create(NetworkConfig("front", bridge="shop1"))


async def test_a_link_that_took_the_name_meanwhile_keeps_nobody_from_opening(lab: Lab) -> None:
    lab.networks.create(NAMED)
    lab.networks.create(NetworkConfig("back"))
    ip("link", "delete", "shop0")
    ip("link", "add", "shop0", "type", "veth", "peer", "name", "shop1")
    lab.reopen()
    assert [network.name for network in lab.networks.list()] == ["back"]
    with pytest.raises(Conflict, match="a link shop0 is there"):
        lab.networks.create(NAMED)
    ip("link", "delete", "shop0")
    lab.reopen()
    assert {network.name for network in lab.networks.list()} == {"back", "front"}


async def test_nor_is_it_deleted_with_the_network(lab: Lab) -> None:
    lab.networks.create(NAMED)
    ip("link", "delete", "shop0")
    ip("link", "add", "shop0", "type", "veth", "peer", "name", "shop1")
    await lab.networks.delete("front")
    assert "shop0" in names()


async def test_one_that_a_crash_left_without_its_alias_is_completed(lab: Lab) -> None:
    lab.networks.create(NAMED)
    ip("link", "set", "shop0", "alias", "")
    lab.reopen()
    [link] = json.loads(ip("-j", "link", "show", "shop0"))
    assert link["ifalias"] == f"{lab.layout.instance}/front"


async def test_it_goes_with_the_instance(lab: Lab) -> None:
    lab.networks.create(NAMED)
    remove_all(lab.layout)
    assert "shop0" not in names()


@pytest.mark.parametrize("name", ["", "a.b", "-a", "a/b", "0" * 16, "all", "default", "lo", "7up", "br 7"])
def test_what_is_no_name(lab: Lab, name: str) -> None:
    if not name:
        assert lab.networks.create(NetworkConfig("front", bridge=name)).bridge.startswith("br")
        return
    with pytest.raises(Invalid, match="is no name for a bridge"):
        lab.networks.create(NetworkConfig("front", bridge=name))
