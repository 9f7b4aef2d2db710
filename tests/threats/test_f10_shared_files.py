"""F10: files of the host that a container is root over, and that the engine reads and writes too."""

from __future__ import annotations

import asyncio
import resource
import time
from pathlib import Path

import pytest

from runtime.engine import NativeEngine
from runtime.errors import Temporary
from runtime.model import EndpointConfig, NetworkConfig, SandboxConfig
from tests.native import PATIENCE_SECONDS, config_of, run, shell, until
from tests.threats.attack import LEASE_SECONDS, lease_on

GROWTH_KIB = 64 * 1024


def sandbox(id: str) -> SandboxConfig:
    return SandboxConfig("own", id=id, endpoints=(EndpointConfig("net"),))


async def test_f10_an_endless_hosts_file_is_not_read(engine: NativeEngine) -> None:
    """A file with a hole costs its maker nothing and its reader all its memory."""
    await engine.create_network(NetworkConfig(name="net"))
    script = "truncate -s 3G /etc/hosts; touch /done; sleep 1000"
    config = shell(engine, "box", script, sandbox=sandbox("one"))
    await run(engine, config)
    await until((engine.layout.containers / config.id / "upper/done").exists)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert [drift for drift in await engine.find_drift() if drift.kind == "hosts"] == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GROWTH_KIB


async def test_f10_a_lease_on_the_hosts_file_holds_nobody_up(engine: NativeEngine) -> None:
    await engine.create_network(NetworkConfig(name="net"))
    config = config_of(engine, "box", "sleep", "1000", sandbox=sandbox("one"))
    await run(engine, config)
    begun = time.monotonic()
    with lease_on(Path(engine.networks.hosts_path("one"))):
        found = await engine.find_drift()
        for drift in found:
            await engine.repair(drift)
        # Its neighbours come up all the same, though its own file cannot tell it of them.
        other = config_of(engine, "other", "sleep", "1000", sandbox=sandbox("two"))
        await run(engine, other)
        assert "box" in Path(engine.networks.hosts_path("two")).read_text()
    assert time.monotonic() - begun < LEASE_SECONDS
    hosts = Path(engine.networks.hosts_path("one"))
    # What peers are called is written a moment after a start: until then a file is due, and not yet drift.
    async with asyncio.timeout(PATIENCE_SECONDS):
        while "other" not in hosts.read_text():
            for drift in await engine.find_drift():
                await engine.repair(drift)
            await asyncio.sleep(0.01)


async def test_f10_a_lease_on_a_file_of_an_earlier_start_holds_no_start_up(engine: NativeEngine) -> None:
    config = config_of(engine, "box", "sleep", "1000")
    await run(engine, config)
    await engine.stop(config.id, 0)
    begun = time.monotonic()
    with lease_on(engine.layout.run_containers / config.id / "resolv.conf"), pytest.raises(Temporary):
        await engine.start(config.id)
    assert time.monotonic() - begun < LEASE_SECONDS
    await engine.start(config.id)


async def test_f10_a_container_does_not_keep_the_hosts_memory(engine: NativeEngine) -> None:
    """They lie in the host's /run, which is memory, and all of its services need."""
    await engine.create_network(NetworkConfig(name="net"))
    script = (
        "for f in hosts resolv.conf hostname; do dd if=/dev/zero of=/etc/$f bs=1M count=4; done; touch /done"
    )
    config = shell(engine, "box", f"{script}; sleep 1000", sandbox=sandbox("one"))
    await run(engine, config)
    await until((engine.layout.containers / config.id / "upper/done").exists)
    run_directory = engine.layout.run_containers / config.id
    files = [
        Path(engine.networks.hosts_path("one")),
        run_directory / "resolv.conf",
        run_directory / "hostname",
    ]
    assert [file.stat().st_size for file in files] == [4 << 20] * 3
    for drift in await engine.find_drift():
        await engine.repair(drift)
    assert max(file.stat().st_size for file in files) < 4096
    assert await engine.find_drift() == ()
