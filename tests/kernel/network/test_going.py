"""Between the removal of a sandbox and the end of its links, for which the kernel takes its time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator

import pytest

from runtime.errors import Conflict
from runtime.model import EndpointConfig, PortConfig, SandboxConfig
from runtime.network import namespaces
from runtime.network.networks import Networks
from tests.kernel.network.conftest import Lab, run

FIXED = SandboxConfig("own", "other", (EndpointConfig("web", ipv4="10.201.0.9"),))


@contextlib.contextmanager
def no_link_goes(lab: Lab) -> Iterator[None]:
    """As with a kernel that is slow to delete them."""
    is_over = threading.Event()
    lab.networks._instance.reaper._thread.submit(is_over.wait, 30)
    try:
        yield
    finally:
        is_over.set()


def links(lab: Lab) -> str:
    return run("ip", "link", "show", "type", "veth")


async def test_nobody_waits_for_the_links(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web", ports=(PortConfig(80, 8080),))
    with no_link_goes(lab):
        await asyncio.wait_for(lab.networks.delete_sandbox("one"), 10)
        assert lab.networks.list_sandboxes() == ()
        assert lab.networks.find_drift() == ()
        await asyncio.wait_for(lab.networks.delete_sandbox("one"), 10)
        two = await lab.sandbox("two", "web", ports=(PortConfig(80, 8080),))
        assert lab.networks.list_sandboxes() == (two,)
        await lab.networks.delete_sandbox("two")
    await lab.networks.delete("web")
    assert f"{lab.layout.instance}/" not in links(lab)


async def test_who_needs_the_same_waits(lab: Lab) -> None:
    """For the sandbox, its address, or its network."""
    lab.network("web")
    for config in (SandboxConfig("own", "one", (EndpointConfig("web"),)), FIXED, None):
        await lab.networks.ensure_sandbox(SandboxConfig("own", "one", FIXED.endpoints))
        with no_link_goes(lab):
            await lab.networks.delete_sandbox("one")
            work = lab.networks.delete("web") if config is None else lab.networks.ensure_sandbox(config)
            waiting = asyncio.ensure_future(work)
            done, _ = await asyncio.wait({waiting}, timeout=0.2)
            assert not done
        await waiting
        if config is not None:
            await lab.networks.delete_sandbox(config.id)
    assert lab.networks.list() == ()


async def test_what_is_taken_for_good_is_still_refused(lab: Lab) -> None:
    lab.network("web")
    await lab.networks.ensure_sandbox(FIXED)
    await lab.sandbox("goes", "web")
    await lab.networks.delete_sandbox("goes")
    with pytest.raises(Conflict, match="in use by another container"):
        await lab.networks.ensure_sandbox(SandboxConfig("own", "one", FIXED.endpoints))
    with pytest.raises(Conflict, match="in use by other"):
        await lab.networks.delete("web")


async def test_an_orderly_end_leaves_no_link(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web")
    await lab.networks.delete_sandbox("one")
    lab.networks.close()
    assert f"{lab.layout.instance}/" not in links(lab)
    lab.networks = Networks(lab.layout)
    lab.networks.open()


async def test_after_a_crash_they_are_left_overs(lab: Lab) -> None:
    lab.network("web")
    await lab.sandbox("one", "web")
    with no_link_goes(lab):
        await lab.networks.delete_sandbox("one")
        after = Networks(lab.layout)  # while the one before it is as it was when it was killed
        after.open()
        try:
            assert after.list_sandboxes() == ()
            assert f"{lab.layout.instance}/" not in links(lab)
            assert list((lab.layout.run / "sandboxes").iterdir()) == []
        finally:
            after.close()


async def test_a_link_that_somebody_took_is_as_good_as_deleted(lab: Lab) -> None:
    """And no other is taken for it."""
    lab.network("web")
    for name in ("one", "two"):
        await lab.sandbox(name, "web")
    record = lab.networks._instance.book.sandboxes["one"]
    run("ip", "link", "delete", record.endpoints[0].link)
    with no_link_goes(lab):
        await lab.networks.delete_sandbox("one")
        assert lab.networks.find_drift() == ()
    await asyncio.wait_for(lab.networks._going.wait_gone(), 10)
    assert [state.id for state in lab.networks.list_sandboxes()] == [
        "two"
    ] and lab.networks.find_drift() == ()


async def test_a_namespace_that_was_bound_twice_goes(lab: Lab) -> None:
    """As by a repair that was repeated."""
    lab.network("web")
    await lab.sandbox("one", "web")
    path = lab.networks.netns_path("one")
    namespaces.bind(path, path)
    await lab.networks.delete_sandbox("one")
    assert not os.path.exists(path)
    namespaces.remove(path)  # nothing when it is gone
