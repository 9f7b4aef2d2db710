"""Containers that go when they have ended (`--rm`), with their anonymous volumes.

Level-based: the loop tells of every look at a key; what has ended and is to go is let go, also after a start
of the agent. The volumes follow once the container is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from typing import Any

from agent.api.context import Context
from agent.api.docker import wishes
from agent.first_step import begun
from agent.manifest.spec import Asked, ContainerSpec
from agent.reconcile import convert
from agent.reconcile.api_objects import API_OWNER, API_PROJECT
from runtime.errors import Conflict, NotFound, SetpointError
from runtime.model import ContainerState
from store.records import Key, ObjectRecord

log = logging.getLogger("setpoint.api")


class AutoRemoval:
    """look(key) when an object stands otherwise than before."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._going: dict[Key, asyncio.Task[None]] = {}

    def look(self, key: Key) -> None:
        record = self._context.loop.objects().get(key)
        if record is None or record.owner != API_OWNER or record.deleting or key in self._going:
            return
        if not record.spec.get("asked", {}).get("auto_remove") or not self._is_over(key, record):
            return
        self._going[key] = asyncio.get_running_loop().create_task(self._remove(key, record))

    def _is_over(self, key: Key, record: ObjectRecord) -> bool:
        """It ran, and is down for good: nothing is under way that would start it. Or it cannot be started,
        and who asked for that heard nothing from the agent before."""
        verdict = self._context.loop.verdict_of(key)
        state = self._context.engine.state(container_id(self._context, key))
        if verdict is None or verdict.generation != record.generation or state is None:
            return False
        if state.phase == "created":
            return verdict.phase == "Stalled" and record.updated_at < self._context.started_at
        return state.phase == "stopped" and verdict.phase in ("Completed", "Failed", "Stopped")

    async def _remove(self, key: Key, record: ObjectRecord) -> None:
        id = container_id(self._context, key)
        self._context.exits.note_removal(id)
        leaving = begun(leave_network(self._context, key))
        try:
            await remove(self._context, key, record, with_volumes=True)
        except SetpointError as error:
            log.warning("%s has ended and cannot be removed: %s", key, error)
        finally:
            self._going.pop(key, None)
        if leaving is not None:
            await leaving

    async def close(self) -> None:
        for task in self._going.values():
            task.cancel()
        await asyncio.gather(*self._going.values(), return_exceptions=True)


def container_id(context: Context, key: Key) -> str:
    return convert.api_container_id(context.settings.layout.instance, key.name)


async def remove(
    context: Context, key: Key, record: ObjectRecord, *, with_volumes: bool, at_once: bool = False
) -> None:
    """Let a container go; returns when it is gone. with_volumes: those of its volumes without a name too.
    at_once: what runs of it is killed. Both are stored with the wish: no end of the agent undoes them."""
    volumes = _going_volumes(context, key, record) if with_volumes else ()
    more: dict[str, object] = {"takes_volumes": volumes} if volumes else {}
    if at_once:
        more |= wishes.KILLED
    await wishes.let_go(context, key, _with_asked(record, more) if more else None)
    for each in map(_volume_key, volumes):  # one that another container had by its name would come back
        with contextlib.suppress(Conflict):  # somebody has it again
            await wishes.let_go(context, each)


def _volume_key(name: str) -> Key:
    return Key(API_PROJECT, "volume", name)


def _with_asked(record: ObjectRecord, more: dict[str, object]) -> ContainerSpec:
    spec = wishes.container_spec_of(record)
    asked = (spec.asked or Asked()).model_dump(exclude_unset=True)
    return ContainerSpec.model_validate({**spec.model_dump(exclude_unset=True), "asked": {**asked, **more}})


async def leave_network(context: Context, key: Key) -> None:
    """Of one that has ended, while the wish of its removal is stored: the kernel takes as long for the one as
    the disk for the other. A kill before that leaves one that has ended and has no network: a start gives it
    another, and where it is to go by itself the next agent lets it go all the same."""
    sandbox = convert.sandbox_id(context.settings.layout.instance, key, 1)
    with contextlib.suppress(SetpointError):  # the plan of its removal meets the same, and tells
        await context.engine.delete_sandbox(sandbox)


async def remove_now(context: Context, key: Key, record: ObjectRecord, *, with_volumes: bool) -> None:
    """The same, and what runs of it is killed, even in the middle of a stop that has more time."""
    state = context.engine.state(container_id(context, key))
    is_live = state is not None and state.phase in ("running", "paused")
    # In this order: it is let go before it is killed, so that nothing brings it back.
    beside: list[Coroutine[Any, Any, None]] = [
        remove(context, key, record, with_volumes=with_volumes, at_once=is_live)
    ]
    if state is not None and is_live:
        beside.append(_kill(context, state))
    elif state is not None and state.phase == "stopped":
        beside.append(leave_network(context, key))
    await asyncio.gather(*beside)


async def _kill(context: Context, state: ContainerState) -> None:
    if state.phase == "paused":
        await context.engine.resume(state.id)
    try:
        await context.engine.signal(state.id, "KILL")
    except (Conflict, NotFound):
        return  # it has ended meanwhile


def _going_volumes(context: Context, key: Key, record: ObjectRecord) -> tuple[str, ...]:
    """Those that no other container has. Not only those that are there: a container is known before its
    volumes are made, and who breaks off then is to leave none."""
    names, id = anonymous_volumes(context, key, record), container_id(context, key)
    return tuple(name for name in names if context.engine.holders_of(name) in ((), (id,)))


def anonymous_volumes(context: Context, key: Key, record: ObjectRecord) -> tuple[str, ...]:
    spec = context.loop.spec_of(key)  # as it was read when it was wished
    if not isinstance(spec, ContainerSpec):
        spec = wishes.container_spec_of(record)
    image = context.loop.image_of(key)
    targets = convert.nameless_volumes(spec, image.volumes if image else ())
    return tuple(convert.anonymous_volume_name(key, 1, target) for target in targets)
