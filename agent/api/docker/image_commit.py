"""An image of a container: `docker commit`.

Of a container that the API made the image gets the container's own configuration, as with Docker's daemon. Of
one that a manifest made it does not: an environment may hold secrets that were never the image's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import events, image_events
from agent.api.docker.answers import json_answer
from agent.api.docker.bodies import json_body
from agent.api.docker.completing import completed
from agent.api.docker.config_view import config_of
from agent.api.docker.finding import find_container
from agent.api.docker.image_names import new_name, read_name
from agent.api.docker.image_query import is_on
from agent.api.docker.looking import look_at
from agent.api.requests import context_of
from agent.reconcile.api_objects import API_OWNER
from runtime.errors import Invalid
from runtime.model import ContainerState, ImageInfo

if TYPE_CHECKING:
    from runtime.images.container_commit import Commit  # late: few agents commit

MAX_TEXT_BYTES = 16384  # of all changes, the comment and the author: they go through a pipe at once
OF_IMAGE = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
    "Healthcheck", "OnBuild", "Shell",
)  # fmt: skip
OF_CONTAINER = frozenset((
    "Hostname", "Domainname", "AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce",
    "Image", "NetworkDisabled", "MacAddress", "StopTimeout", "ArgsEscaped",
))  # fmt: skip
OWN_LABELS = "setpoint."


async def commit(request: web.Request) -> web.StreamResponse:
    """?container= ?repo= ?tag= ?comment= ?author= ?pause= ?changes=, several; the body, a Config, counts
    before what the container has."""
    from runtime.images.container_commit import Commit

    context, query = context_of(request), request.query
    if not query.get("container"):
        raise Invalid("", "", 'invalid name or ID supplied: ""')
    state = find_container(context, query.get("container", ""))
    name = new_name(query.get("repo", ""), query.get("tag", ""))
    changes = changes_of(query.getall("changes", []))
    comment, author = query.get("comment", ""), query.get("author", "")
    if sum(len(text.encode()) for text in (*changes, comment, author)) > MAX_TEXT_BYTES:
        raise Invalid("commit", state.name, f"over {MAX_TEXT_BYTES} bytes of changes, comment and author")
    own = _own_config(context, state)
    config = merged(image_part(await json_body(request)), own)
    if name:
        context.loop.check_image("commit", name)
    made_by = " ".join(own.get("Cmd") or ()) if own else None  # of a manifest's it may hold secrets, too
    wanted = Commit(
        "", "", "", name, changes, comment, author, moves_name=True, config=config, created_by=made_by
    )
    work = _commit(context, state, wanted, pauses=is_on(request, "pause", default=True))
    return json_answer({"Id": await completed(work)}, 201)


async def _commit(context: Context, state: ContainerState, wanted: Commit, *, pauses: bool) -> str:
    name = read_name(wanted.name).familiar if wanted.name else ""
    with _paused(context, state) if pauses and state.phase == "running" else contextlib.nullcontext():
        image: ImageInfo = await context.engine.files.commit(state.id, wanted, pauses=pauses)
        if name:
            image_events.note(context, image_events.TAGGED, image.id, name)
        more = {"comment": wanted.message, "imageID": image.id, "imageRef": name}
        events.note_container(context, state, "commit", **more)
    return image.id


@contextlib.contextmanager
def _paused(context: Context, state: ContainerState) -> Iterator[None]:
    """Tells that it stood still meanwhile."""
    events.note_container(context, state, "pause")
    try:
        yield
    finally:
        events.note_container(context, state, "unpause")


def changes_of(texts: list[str]) -> tuple[str, ...]:
    """A word may hold several instructions, a line each."""
    return tuple(line for text in texts for line in text.splitlines() if line.strip())


def _own_config(context: Context, state: ContainerState) -> dict[str, Any]:
    seen = look_at(context, state)
    if seen.spec is None or seen.record is None or seen.record.owner != API_OWNER:
        return {}
    found = image_part(config_of(seen.spec, seen.image, state.id, seen.reference))
    labels = found.get("Labels") or {}
    own = {name: text for name, text in labels.items() if not name.startswith(OWN_LABELS)}
    return {**found, "Labels": own} if labels else found


def image_part(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of a container's Config an image's has, where it says something. `Invalid` for a field that is
    neither's."""
    for name in config:
        if name not in OF_IMAGE and name not in OF_CONTAINER:
            raise Invalid("commit", name[:60], "no field of a container's configuration")
    return {name: config[name] for name in OF_IMAGE if config.get(name) not in (None, "", [], {})}


def merged(said: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """said, and of the container's own what that does not say: variables, labels, ports and volumes one by
    one."""
    found = {**own, **said}
    for name in ("Labels", "ExposedPorts", "Volumes"):
        both = [part.get(name) for part in (own, said)]
        if all(isinstance(each, dict) for each in both):
            found[name] = {**own[name], **said[name]}
    if isinstance(said.get("Env"), list) and isinstance(own.get("Env"), list):
        names = {str(entry).partition("=")[0] for entry in said["Env"]}
        kept = [entry for entry in own["Env"] if entry.partition("=")[0] not in names]
        found["Env"] = [*said["Env"], *kept]
    return found
