"""Checkpoints of running containers, which need CRIU.

No host that this engine was made on has it, and without one a checkpoint could not be tried: it is refused
with what is lacking, after what a client could mend itself.
"""

from __future__ import annotations

import shutil
from typing import NoReturn

from aiohttp import web

from agent.api.docker.answers import json_answer
from agent.api.docker.bodies import flag_of, json_body, text_of
from agent.api.docker.finding import find_container
from agent.api.requests import context_of
from runtime.errors import Conflict, Invalid, NotFound, Unsupported


async def list_checkpoints(request: web.Request) -> web.StreamResponse:
    """There are none, whatever container is asked for."""
    find_container(context_of(request), request.match_info["id"])
    return json_answer([])


async def create(request: web.Request) -> web.StreamResponse:
    state = find_container(context_of(request), request.match_info["id"])
    body = await json_body(request)
    name = text_of(body, "CheckpointID")
    text_of(body, "CheckpointDir"), flag_of(body, "Exit")
    if not name:
        raise Invalid("", "", "a checkpoint needs a name (CheckpointID)")
    if state.phase not in ("running", "paused"):
        raise Conflict("", "", f"container {state.name} is not running")
    _refuse(state.name)


async def delete(request: web.Request) -> web.StreamResponse:
    state = find_container(context_of(request), request.match_info["id"])
    name = request.match_info["checkpoint"]
    raise NotFound("", "", f"checkpoint {name[:128]} does not exist for container {state.name}")


def _refuse(name: str) -> NoReturn:
    lacks = "" if shutil.which("criu") else "the program criu is not installed on this host, and "
    raise Unsupported(
        "checkpoint", name, f"{lacks}this engine does not checkpoint containers yet",
        "to freeze it while this host runs: docker pause",
    )  # fmt: skip
