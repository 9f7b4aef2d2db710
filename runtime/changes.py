"""What changes of a container that is there, while it runs or not: its name, and the networks it is on.

    sandbox (links, addresses, names, firewall) ─> resolv.conf ─> the bundle's record

The record comes last: until it says so a change is not done, for who looks and after a crash, and is made
again. Called by `engine`; one thing at a time happens to a container (its entry's lock).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace

from runtime import container_record, disk
from runtime.assembly import Assembly
from runtime.container_index import ContainerIndex
from runtime.containers import Entry
from runtime.errors import Conflict, NotFound, Temporary
from runtime.model import ContainerConfig, EndpointConfig, SandboxConfig, SandboxState
from runtime.renaming import placed, renamed


class Changes:
    """sandboxes: the network namespaces that there are. make_sandbox: makes one be as a config says."""

    def __init__(
        self,
        index: ContainerIndex,
        assembly: Assembly,
        sandboxes: dict[str, SandboxState],
        make_sandbox: Callable[[ContainerConfig], Awaitable[None]],
    ) -> None:
        self._index = index
        self._assembly = assembly
        self._sandboxes = sandboxes
        self._make_sandbox = make_sandbox

    async def rename(self, id: str, name: str) -> None:
        entry = self._index.get("rename", id)
        async with entry.lock:
            self._index.get("rename", id)  # it may have been deleted while we waited
            before = entry.config.name
            if before == name:
                return
            self._index.hold(name, entry)  # at once: nobody else takes it meanwhile
            try:
                await self._change(entry, renamed(entry.config, name))
            except BaseException:
                self._index.release(name, entry)
                raise
            self._index.release(before, entry)

    async def relabel(self, id: str, labels: Mapping[str, str]) -> None:
        entry = self._index.get("relabel", id)
        async with entry.lock:
            self._index.get("relabel", id)
            if dict(entry.config.labels) != dict(labels):
                await self._change(entry, replace(entry.config, labels=dict(labels)))

    async def connect(self, id: str, endpoint: EndpointConfig, position: int) -> None:
        entry = self._index.get("connect", id)
        async with entry.lock:
            sandbox = self._own_sandbox("connect", entry)
            await self._reach(entry, placed(sandbox.endpoints, endpoint, position))

    async def disconnect(self, id: str, network: str) -> None:
        entry = self._index.get("disconnect", id)
        async with entry.lock:
            sandbox = self._own_sandbox("disconnect", entry)
            await self._reach(entry, tuple(each for each in sandbox.endpoints if each.network != network))

    def _own_sandbox(self, op: str, entry: Entry) -> SandboxConfig:
        self._index.get(op, entry.config.id)
        sandbox = entry.config.sandbox
        if sandbox.mode != "own":
            whose = "the host's" if sandbox.mode == "host" else "another container's"
            raise Conflict(op, entry.config.name, f"its network is {whose}")
        return sandbox

    async def _reach(self, entry: Entry, endpoints: tuple[EndpointConfig, ...]) -> None:
        """Be on these networks, and no others. What was broken off may have left its namespace on more."""
        sandbox = entry.config.sandbox
        there = self._sandboxes.get(sandbox.id)
        is_so = there is None or there.addresses.keys() == {each.network for each in endpoints}
        if sandbox.endpoints != endpoints or not is_so:
            await self._change(entry, replace(entry.config, sandbox=replace(sandbox, endpoints=endpoints)))

    async def _change(self, entry: Entry, config: ContainerConfig) -> None:
        sandbox = config.sandbox
        try:
            if sandbox.mode == "own" and sandbox.id in self._sandboxes and not self._is_of_another(entry):
                await self._change_sandbox(config)
            self._assembly.forget(config.id)  # a start makes its config of the record below
            if entry.is_running:
                self._write_name(config)
            bundle = self._assembly.bundle(config.id)
            container_record.write(bundle, config, entry.created_at, lasting=True)
            if entry.has_started:
                container_record.mark_run(bundle)
        except OSError as error:
            raise disk.explained("change", config.name, error) or Temporary(
                "change", config.name, str(error)
            ) from error
        entry.config = config

    async def _change_sandbox(self, config: ContainerConfig) -> None:
        """The kernel's part. While nobody runs in it, its ports stay free for others."""
        sandbox = config.sandbox
        inside = [each for each in self._index if each.is_running and each.config.sandbox.id == sandbox.id]
        before = [self._assembly.resolv_conf(each.config) for each in inside]
        if not inside:
            config = replace(config, sandbox=replace(sandbox, ports=()))
        await self._make_sandbox(config)
        for each, text in zip(inside, before, strict=True):
            self._assembly.rewrite_resolv_conf(each.config, text)

    def _is_of_another(self, entry: Entry) -> bool:
        """Whether what replaced it runs in its sandbox by now."""
        sandbox = entry.config.sandbox.id
        return not entry.is_running and any(
            each.is_running and each.config.sandbox.mode == "own" and each.config.sandbox.id == sandbox
            for each in self._index
        )

    def _write_name(self, config: ContainerConfig) -> None:
        try:
            oci = self._assembly.read_config(config.id)
        except NotFound:  # somebody took it away, and it will be made again of the record
            return
        if oci.get("annotations", {}).get("setpoint.name") != config.name:
            oci["annotations"] = oci.get("annotations", {}) | {"setpoint.name": config.name}
            self._assembly.write_config(config.id, oci)
