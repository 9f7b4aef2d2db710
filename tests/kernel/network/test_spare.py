"""A namespace that is made before a sandbox asks for it is as any other, or it is not taken."""

from __future__ import annotations

import asyncio
import os

import pytest

from runtime.model import EndpointConfig, SandboxConfig
from runtime.network import sandboxes, spare
from tests.kernel.network.conftest import Lab, run


async def _expect(lab: Lab) -> int:
    """The inode of what is in stock then."""
    lab.networks.expect()
    await asyncio.sleep(0)
    made = lab.networks._instance.spare._made
    assert made is not None
    return os.fstat(made.descriptor).st_ino


def _inode(lab: Lab, id: str) -> int:
    return os.stat(lab.networks.netns_path(id)).st_ino


async def test_the_next_sandbox_takes_it(lab: Lab) -> None:
    lab.network("web")
    inode = await _expect(lab)
    assert await _expect(lab) == inode, "there is one, however often it is asked for"
    state = await lab.sandbox("one", "web")
    other = await lab.sandbox("two", "web")
    assert _inode(lab, "one") == inode != _inode(lab, "two")
    assert lab.networks.find_drift() == ()
    for name, value in sandboxes.SYSCTLS.items():
        path = f"/proc/sys/{name.replace('.', '/')}"
        found = [run("nsenter", f"--net={lab.networks.netns_path(id)}", "cat", path) for id in ("one", "two")]
        assert [each.split() for each in found] == [value.split()] * 2, name
    assert lab.call("two", state.addresses["web"], 80, lab.serve("one", 80)) == other.addresses["web"]


async def test_what_has_grown_old_is_not_taken(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's sysctls, of which a namespace has a copy, may have been changed since."""
    lab.network("web")
    inode = await _expect(lab)
    monkeypatch.setattr(spare, "MAX_SECONDS", 0.0)
    await lab.sandbox("one", "web")
    assert _inode(lab, "one") != inode
    monkeypatch.undo()
    lab.networks._instance.spare._made_at = 0.0
    held = lab.networks._instance.spare._made
    assert held is not None
    assert await _expect(lab) != inode
    assert held.netlink.fileno() == -1  # its socket went with it


async def test_a_sandbox_with_ids_of_its_own_does_not_take_the_hosts(lab: Lab) -> None:
    lab.network("web")
    inode = await _expect(lab)
    config = SandboxConfig("own", "one", (EndpointConfig("web"),))
    await lab.networks.ensure_sandbox(config, hostname="one", names=("one",), has_ids=True)
    assert _inode(lab, "one") != inode
    await lab.sandbox("two", "web")
    assert _inode(lab, "two") == inode
    await lab.networks.delete_sandbox("one")
    await lab.networks._going.wait_gone()


async def test_none_is_made_after_the_end(lab: Lab) -> None:
    """Who was to make one had no way back into the host's network, and would end the process."""
    lab.network("web")
    lab.networks.expect()
    lab.reopen()
    await asyncio.sleep(0)
    await lab.sandbox("one", "web")
    assert lab.networks.find_drift() == ()
