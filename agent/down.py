"""Remove what an instance runs: containers, sandboxes, networks, and volumes when asked. Called by the
API's `down`, and by the command line when no agent runs.

Goes by what the engine shows, not by what anybody remembers. May be repeated after a crash.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

from runtime.errors import NotFound, SetpointError
from runtime.face import Engine
from runtime.model import ContainerState

AT_ONCE = 16
GRACE_SECONDS = 10.0


async def remove_everything(
    engine: Engine, *, with_volumes: bool = False, grace_seconds: float = GRACE_SECONDS
) -> AsyncIterator[str]:
    """Yields what went, as "container shop-web-1". Raises the first error after having tried all."""
    errors: list[SetpointError] = []

    async def each(kind: str, names: Iterable[str], remove: Callable[[str], Awaitable[None]]) -> list[str]:
        return await _each(kind, names, remove, errors)

    containers = {state.id: state for state in engine.list()}

    async def remove_container(id: str) -> None:
        await _end(engine, containers[id], grace_seconds)
        await engine.delete(id)

    for id in await each("container", containers, remove_container):
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
