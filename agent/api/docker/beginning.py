"""What a start begins from: nothing, or a checkpoint. Called by `container_life`."""

from __future__ import annotations

from aiohttp import web

from agent.api.context import Context
from agent.api.docker.answers import Forbidden
from agent.api.ways import scope_of
from runtime.errors import Invalid
from runtime.model import ContainerState

LONGEST_DIRECTORY = 4096


def checked_directory(text: str) -> str:
    """A directory of the client's choice; the engine looks at the rest of it."""
    if len(text) > LONGEST_DIRECTORY:
        raise Invalid("", "", "the checkpoint directory's name is too long")
    return text


async def choose(request: web.Request, context: Context, state: ContainerState) -> None:
    """By ?checkpoint= and ?checkpoint-dir=. Without one, what a broken call left is forgotten."""
    name = request.query.get("checkpoint", "")
    if not name:
        context.engine.checkpoints.choose_none(state.id)
        return
    if (scope := scope_of(request)) is not None:
        raise Forbidden(f"a start from a checkpoint is not allowed at the socket {scope.name}")
    directory = checked_directory(request.query.get("checkpoint-dir", ""))
    await context.engine.checkpoints.choose(state.id, name, directory)
