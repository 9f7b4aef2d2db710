"""Checkpoints of running containers, which need CRIU: without it, 501 with what to install.

    create   keep it ─> Exit: want it stopped, and wait until it is

Making one is the engine's; what is wanted of a container is a wish, as for every other call. For a
start from one see `beginning`.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import wishes
from agent.api.docker.answers import json_answer, no_content
from agent.api.docker.beginning import checked_directory
from agent.api.docker.bodies import flag_of, json_body, text_of
from agent.api.docker.completing import completed
from agent.api.docker.container_life import asked_of, wait_down
from agent.api.docker.events import note_container
from agent.api.docker.finding import find_container, owned_key
from agent.api.requests import context_of
from runtime.errors import Conflict, Invalid
from runtime.model import ContainerState
from store.records import Key


async def list_checkpoints(request: web.Request) -> web.StreamResponse:
    """?dir= is a directory of the client's choice on this host, in place of our own."""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    names = await asyncio.to_thread(context.engine.checkpoints.list, state.id, _directory(request))
    return json_answer([{"Name": name} for name in names])


async def create(request: web.Request) -> web.StreamResponse:
    """201 when it is whole, and with Exit the container is stopped. It runs on where that failed."""
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    body = await json_body(request)
    name, directory = text_of(body, "CheckpointID"), checked_directory(text_of(body, "CheckpointDir"))
    if not name:
        raise Invalid("", "", "a checkpoint needs a name (CheckpointID)")
    if state.phase not in ("running", "paused"):
        raise Conflict("", "", f"container {state.name} is not running")
    if flag_of(body, "Exit"):
        key = owned_key(context, "checkpoint", state)
        await completed(_keep_and_stop(context, key, state, name, directory))
    else:
        await completed(_keep(context, state, name, directory, leaves_running=True))
    return web.Response(status=201)


async def _keep(
    context: Context, state: ContainerState, name: str, directory: str, *, leaves_running: bool
) -> None:
    await context.engine.checkpoints.create(state.id, name, directory, leaves_running=leaves_running)
    note_container(context, state, "checkpoint")


async def _keep_and_stop(
    context: Context, key: Key, state: ContainerState, name: str, directory: str
) -> None:
    """It was left frozen: what it did after the checkpoint was made would be done twice."""
    await _keep(context, state, name, directory, leaves_running=False)
    before = context.loop.verdict_of(key)
    try:
        asked = asked_of(context, key) | wishes.KILLED
        await wishes.change(context, key, ensure="stopped", asked=asked)
        await wait_down(context, key, state, before)
    except BaseException:
        await asyncio.shield(context.engine.checkpoints.go_on(state.id))
        raise


async def delete(request: web.Request) -> web.StreamResponse:
    context = context_of(request)
    state = find_container(context, request.match_info["id"])
    name, directory = request.match_info["checkpoint"], _directory(request)
    await completed(asyncio.to_thread(context.engine.checkpoints.remove, state.id, name, directory))
    return no_content()


def _directory(request: web.Request) -> str:
    return checked_directory(request.query.get("dir", ""))
