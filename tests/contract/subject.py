"""One engine under test, whichever it is: what the contract's tests need beyond the face."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from typing import Any

from runtime.engine import NativeEngine
from runtime.face import Engine
from runtime.model import ContainerConfig, ContainerState, Drift, EndpointConfig, PortConfig, SandboxConfig
from tests.native import id_of, until
from tests.sim.fake_engine import FakeEngine

SLEEP = ("sleep", "1000")


@dataclass
class Subject:
    """engine: the face. Exactly one of fake and native is that engine too."""

    engine: Engine
    fake: FakeEngine | None = None
    native: NativeEngine | None = None

    def config(self, name: str, *command: str, **fields: Any) -> ContainerConfig:
        """A container that sleeps, in the host's network unless told otherwise."""
        image = self.engine.image("busybox:latest")
        assert image is not None
        fields.setdefault("sandbox", SandboxConfig("host"))
        return ContainerConfig(
            id=id_of(name), name=name, image=image.id, command=command or SLEEP, **fields
        )  # fmt: skip

    def on_network(self, name: str, network: str, *ports: PortConfig, **fields: Any) -> ContainerConfig:
        sandbox = SandboxConfig("own", f"s-{name}", (EndpointConfig(network),), ports)
        return self.config(name, sandbox=sandbox, **fields)

    def kill(self, id: str) -> None:
        """The container's process ends from outside."""
        if self.fake is not None:
            self.fake.exit(id, 137)
            return
        pid = self.engine.state(id).pid  # type: ignore[union-attr]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def phase(self, id: str, wanted: str) -> ContainerState:
        """The state, once it has that phase."""

        def found() -> ContainerState | None:
            state = self.engine.state(id)
            return state if state is not None and state.phase == wanted else None

        state: ContainerState = await until(found)
        return state

    def tamper(self, id: str) -> None:
        """A limit in the kernel is not as it was written."""
        if self.fake is not None:
            self.fake.tamper(Drift("cgroup", id, "pids.max: expected 2048, found 99"))
            return
        from pathlib import Path

        from runtime import cgroups

        assert self.native is not None
        path = f"/{self.native.layout.cgroup_parent}/{id}"
        limit = next(Path(d, "pids.max") for d in cgroups.existing(path) if Path(d, "pids.max").exists())
        limit.write_text("99")
