"""Remove what an instance runs: containers, sandboxes, networks, and volumes when asked. Called by the
API's `down`, and by the command line when no agent runs.

Goes by what the engine shows; what the store remembers only says how: who depends on whom, and how long
a container may take to end. May be repeated after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

from agent.reconcile.observe import key_of
from runtime.errors import NotFound, SetpointError
from runtime.face import Engine
from runtime.model import ContainerState
from store.records import Key, ObjectRecord

AT_ONCE = 16
GRACE_SECONDS = 10.0


async def remove_everything(
    engine: Engine, records: Mapping[Key, ObjectRecord], *, with_volumes: bool = False
) -> AsyncIterator[str]:
    """Yields what went, as "container shop-web-1". Raises the first error after having tried all.
    records: of the objects that were wanted, as far as they are known."""
    errors: list[SetpointError] = []

    async def each(kind: str, names: Iterable[str], remove: Callable[[str], Awaitable[None]]) -> list[str]:
        return await _each(kind, names, remove, errors)

    containers = {state.id: state for state in engine.list()}

    async def remove_container(id: str) -> None:
        await _end(engine, containers[id], grace_of(containers[id], records))
        await engine.delete(id)

    for group in in_order(containers.values(), records):
        for id in await each("container", group, remove_container):
            yield f"container {containers[id].name}"
    sandboxes = [sandbox.id for sandbox in engine.list_sandboxes()]
    await each("sandbox", sandboxes, engine.delete_sandbox)
    networks = [network.name for network in engine.list_networks()]
    for name in await each("network", networks, engine.delete_network):
        yield f"network {name}"
    if with_volumes:
        volumes = [volume.name for volume in engine.list_volumes()]
        for name in await each("volume", volumes, engine.delete_volume):
            yield f"volume {name}"
    if errors:
        raise errors[0]


def grace_of(state: ContainerState, records: Mapping[Key, ObjectRecord]) -> float:
    record = _record_of(state, records)
    grace = record.spec.get("stop_grace_period") if record else None
    return float(grace) if isinstance(grace, int | float) else GRACE_SECONDS


def in_order(states: Iterable[ContainerState], records: Mapping[Key, ObjectRecord]) -> list[tuple[str, ...]]:
    """Ids of containers in groups: before a group goes, all that depend on it have gone. Who depend on
    each other go together."""
    left = {state.id: key_of(state.labels) for state in states}
    needs: dict[Key | None, set[Key]] = {key: _needs(record) for key, record in records.items()}
    groups = []
    while left:
        needed = {need for key in set(left.values()) if key in needs for need in needs[key]}
        free = tuple(id for id, key in left.items() if key not in needed) or tuple(left)
        groups.append(free)
        left = {id: key for id, key in left.items() if id not in free}
    return groups


def _record_of(state: ContainerState, records: Mapping[Key, ObjectRecord]) -> ObjectRecord | None:
    key = key_of(state.labels)
    return records.get(key) if key else None


def _needs(record: ObjectRecord) -> set[Key]:
    names = set(record.spec.get("depends_on") or ())
    for mode in ("network_mode", "pid", "ipc"):
        kind, _, name = str(record.spec.get(mode) or "").partition(":")
        names |= {name} if kind == "service" else set()
    return {Key(record.key.project, "container", name) for name in names} - {record.key}


async def _end(engine: Engine, state: ContainerState, grace_seconds: float) -> None:
    if state.phase == "paused":
        await engine.resume(state.id)
    if state.phase in ("running", "paused"):
        await engine.stop(state.id, grace_seconds)


async def _each(
    kind: str, names: Iterable[str], remove: Callable[[str], Awaitable[None]], errors: list[SetpointError]
) -> list[str]:
    """Remove all, some at once; the names that went."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> str | None:
        async with slots:
            try:
                await remove(name)
            except NotFound:
                return name
            except SetpointError as error:
                errors.append(error)
                return None
            return name

    done = await asyncio.gather(*(one(name) for name in names))
    return [name for name in done if name is not None]
