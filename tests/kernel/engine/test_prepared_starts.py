"""A start whose network and whose process are made side by side: the program runs when both are there, or
nothing stays of either."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import cgroups
from runtime.engine import NativeEngine
from runtime.errors import SetpointError, Temporary
from runtime.layout import Layout
from runtime.model import ContainerConfig, EndpointConfig, NetworkConfig, PortConfig, SandboxConfig
from runtime.network import building, networks
from runtime.network.firewall import Element
from runtime.network.libnftables import FirewallError
from runtime.network.table import Table
from tests.gate import is_prepared
from tests.native import (
    PATIENCE_SECONDS,
    another_engine,
    ended,
    output,
    run,
    shell,
    supervisor_pid,
    until,
)

REPOSITORY = Path(__file__).resolve().parents[3]
ASKS = "ping -c1 -W5 -q $(ip route | sed -n 's/default via \\([0-9.]*\\).*/\\1/p') >/dev/null && echo ran"


def on_network(engine: NativeEngine, name: str = "one", script: str = ASKS, **fields: Any) -> ContainerConfig:
    sandbox = SandboxConfig("own", f"s-{name}", (EndpointConfig("web"),), (PortConfig(80, 0),))
    return shell(engine, name, script, sandbox=sandbox, **fields)


@pytest.fixture
async def created(engine: NativeEngine) -> ContainerConfig:
    """A container on a network, that asks its gateway with its first breath."""
    await engine.create_network(NetworkConfig("web"))
    config = on_network(engine)
    await engine.create(config)
    return config


def _wait(condition: Callable[[], bool]) -> None:
    """In the event loop's own thread, as the network is made."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def _elements(engine: NativeEngine, config: ContainerConfig) -> set[Any]:
    book = engine.networks._book
    return book.sandbox_elements(book.sandboxes[config.sandbox.id])


async def test_its_program_runs_when_the_firewall_is_there_and_its_first_packet_comes_back(
    engine: NativeEngine, created: ContainerConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    whole = Table._change

    def slow(table: Table, removed: set[Element], added: set[Element]) -> None:
        _wait(lambda: is_prepared(engine, created.id))
        time.sleep(0.2)  # all is made by then, and its program could have run
        seen.append(is_prepared(engine, created.id) and output(engine, created.id) == b"")
        whole(table, removed, added)

    monkeypatch.setattr(Table, "_change", slow)
    await engine.start(created.id)
    monkeypatch.undo()
    assert seen == [True]
    assert _elements(engine, created) and engine.networks._table.differences() == []
    assert (await ended(engine, created.id)).exit_code == 0
    assert output(engine, created.id) == b"ran\n"


def _refuse_links(monkeypatch: pytest.MonkeyPatch, waits: Callable[[], None]) -> None:
    def refuse(*_arguments: object) -> None:
        waits()
        raise OSError(105, "No buffer space available")

    monkeypatch.setattr(building, "_attach", refuse)


def _refuse_rules(monkeypatch: pytest.MonkeyPatch, waits: Callable[[], None]) -> None:
    def refuse(*_arguments: object) -> None:
        waits()
        raise FirewallError("change firewall", "the table", "no room for rules")

    monkeypatch.setattr(Table, "_change", refuse)
    monkeypatch.setattr(Table, "sync", refuse)  # all of it anew, when a change was refused


@pytest.mark.parametrize("is_early", [True, False])
@pytest.mark.parametrize(
    ("refuse", "reason"), [(_refuse_links, "No buffer space available"), (_refuse_rules, "no room for rules")]
)
async def test_a_network_that_fails_leaves_nothing(
    engine: NativeEngine,
    created: ContainerConfig,
    monkeypatch: pytest.MonkeyPatch,
    refuse: Callable[[pytest.MonkeyPatch, Callable[[], None]], None],
    reason: str,
    is_early: bool,
) -> None:
    with monkeypatch.context() as patched:
        refuse(patched, lambda: None if is_early else _wait(lambda: is_prepared(engine, created.id)))
        with pytest.raises(SetpointError, match=reason):
            await engine.start(created.id)
    assert output(engine, created.id) == b"" and engine.state(created.id).phase == "created"  # type: ignore[union-attr]
    assert cgroups.existing(engine._assembly.cgroup(created.id)) == ()
    if refuse is _refuse_links:
        assert engine.list_sandboxes() == ()
        assert not Path(engine.networks.hosts_path(created.sandbox.id)).exists()
        assert not Path(engine.networks.netns_path(created.sandbox.id)).exists()
    await _starts(engine, created)
    assert (await ended(engine, created.id)).exit_code == 0
    assert output(engine, created.id) == b"ran\n"


async def _starts(engine: NativeEngine, config: ContainerConfig) -> None:
    """As the loop does it: what passes is tried again."""
    for _ in range(100):
        try:
            await engine.start(config.id)
        except Temporary:
            await asyncio.sleep(0.01)
        else:
            return
    raise AssertionError("it does not start")


async def test_a_start_that_is_given_up_leaves_nothing_that_waits(
    engine: NativeEngine, created: ContainerConfig
) -> None:
    engine.networks._is_scheduled = True  # as when others' networks fill the turns before its own
    starting = asyncio.ensure_future(engine.start(created.id))
    await until(lambda: engine.networks._queue)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    engine.networks._work()
    assert created.sandbox.id in engine.networks._book.sandboxes
    for _ in range(2):  # it forks between two requests
        await engine._client.call("ping")
    assert cgroups.existing(engine._assembly.cgroup(created.id)) == ()
    await engine.start(created.id)
    assert (await ended(engine, created.id)).exit_code == 0


_KILLED = """
import asyncio, os, signal, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from runtime import cgroups
from runtime.engine import NativeEngine
from runtime.layout import Layout
from runtime.network import building

async def main():
    engine = NativeEngine(Layout(sys.argv[1]))
    await engine.open()
    (one,) = engine.list()
    def die(*_arguments):
        while not cgroups.existing(engine._assembly.cgroup(one.id)):
            time.sleep(0.001)
        os.kill(os.getpid(), signal.SIGKILL)
    building._attach = die
    await engine.start(one.id)

asyncio.run(main())
"""


async def test_an_agent_that_is_killed_in_between_leaves_nothing_that_runs(
    engine: NativeEngine, created: ContainerConfig, instance: Layout
) -> None:
    supervisor = await supervisor_pid(engine)
    await engine.close()
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _KILLED, instance.instance, str(REPOSITORY), stderr=subprocess.PIPE
    )
    _, errors = await killed.communicate()
    assert killed.returncode == -signal.SIGKILL, errors.decode()
    async with another_engine(instance) as second:
        assert await supervisor_pid(second) == supervisor
        cgroup = second._assembly.cgroup(created.id)
        await until(lambda: not cgroups.list_pids(cgroup))
        assert second.state(created.id).phase == "created"  # type: ignore[union-attr]
        assert output(second, created.id) == b""
        await _starts(second, created)
        assert (await ended(second, created.id)).exit_code == 0
        assert output(second, created.id) == b"ran\n"
        assert await second.find_drift() == ()


async def test_many_share_a_transaction(engine: NativeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that come in one turn of the event loop: what a start has to prepare does not part them."""
    monkeypatch.setattr(networks, "_TURN_SECONDS", PATIENCE_SECONDS)
    await engine.create_network(NetworkConfig("web"))
    configs = [on_network(engine, f"n{number}") for number in range(12)]
    for config in configs:
        await engine.create(config)
    changes: list[set[Element]] = []
    whole = Table._change

    def count(table: Table, removed: set[Element], added: set[Element]) -> None:
        changes.append(added)
        whole(table, removed, added)

    monkeypatch.setattr(Table, "_change", count)
    await asyncio.gather(*(engine.start(config.id) for config in configs))
    assert len(changes) == 1
    for config in configs:
        assert (await ended(engine, config.id)).exit_code == 0
        assert output(engine, config.id) == b"ran\n"


async def test_sysctls_of_an_interface_wait_for_it(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = building._attach
    monkeypatch.setattr(building, "_attach", lambda *given: (time.sleep(0.3), whole(*given)))
    await engine.create_network(NetworkConfig("web"))
    name = "net.ipv4.conf.eth0.rp_filter"
    config = on_network(engine, script=f"cat /proc/sys/{name.replace('.', '/')}", sysctls={name: "2"})
    await run(engine, config)
    assert (await ended(engine, config.id)).exit_code == 0
    assert output(engine, config.id) == b"2\n"
