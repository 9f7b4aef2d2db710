"""R36: what another release wrote down. A container that it left running is taken over as it is, whether its
records lack fields that came later, or have some that came after us."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime.engine import NativeEngine
from runtime.layout import Layout
from runtime.model import EndpointConfig, MountConfig, NetworkConfig, Resources, SandboxConfig, Security
from tests.native import another_engine, ended, run, shell, supervisor_pid, until

Change = Callable[[dict[str, Any]], None]
LATER = {  # fields that the first release did not have
    "sandboxes": ("links", "ids"),
    "networks": ("created_at",),
    "containers": ("log_bytes", "log_files", "cgroup"),
    "bundles": (),
}


def older(kind: str) -> Change:
    def change(record: dict[str, Any]) -> None:
        for field in LATER[kind]:
            record.pop(field, None)

    return change


def newer(kind: str) -> Change:
    def change(record: dict[str, Any]) -> None:
        add(record)
        if kind == "bundles":
            config = record["config"]
            for part in (config, config["sandbox"], *config["sandbox"]["endpoints"], *config["mounts"]):
                add(part)
            add(config["resources"])
            add(config["security"])

    return change


def add(record: dict[str, Any]) -> None:
    record["of_a_later_release"] = {"and": ["more", 1]}


def rewrite(path: Path, change: Change) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def records_of(layout: Layout, id: str) -> dict[str, list[Path]]:
    found = {
        "sandboxes": list((layout.run / "sandboxes").glob("*.json")),
        "networks": list(layout.networks.glob("*.json")),
        "containers": [layout.run_containers / id / "state.json"],
        "bundles": [layout.containers / id / "container.json"],
    }
    assert all(found.values()), found
    return found


@pytest.mark.parametrize("release", [older, newer])
async def test_r36_what_runs_is_taken_over_from_another_release(
    engine: NativeEngine, instance: Layout, release: Callable[[str], Change]
) -> None:
    await engine.create_network(NetworkConfig("web"))
    sandbox = SandboxConfig("own", "one", (EndpointConfig("web"),))
    config = shell(
        engine, "one", "while ! [ -e /go ]; do sleep 0.01; done; exit 6", sandbox=sandbox,
        mounts=(MountConfig("tmpfs", "/srv"),), resources=Resources(pids=99),
        security=Security(no_new_privileges=True),
    )  # fmt: skip
    await run(engine, config)
    before, supervisor = engine.state(config.id), await supervisor_pid(engine)
    assert before is not None and before.pid and before.addresses
    await engine.close()
    for kind, paths in records_of(instance, config.id).items():
        for path in paths:
            rewrite(path, release(kind))
    async with another_engine(instance) as second:
        assert second.state(config.id) == before
        assert await second.find_drift() == ()
        await kill_supervisor(second, supervisor)
        assert second.state(config.id) == before  # by another supervisor too
        Path(f"/proc/{before.pid}/root/go").touch()
        assert (await ended(second, config.id)).exit_code in (6, None)
        rewrite(instance.containers / config.id / "exit.json", release("containers"))
    async with another_engine(instance) as third:
        assert third.state(config.id).phase == "stopped"  # type: ignore[union-attr]


async def kill_supervisor(engine: NativeEngine, pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    await until(lambda: not engine.is_supervisor_up)
    await until(lambda: engine.is_supervisor_up)
