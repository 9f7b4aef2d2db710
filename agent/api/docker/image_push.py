"""Images to registries: `docker push`, of one tag or of all that are here. Who asks the registry is in
X-Registry-Auth, for this one push: it is kept nowhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import image_events
from agent.api.docker.image_finding import check_platform, find_image
from agent.api.docker.image_names import has_tag, read_name, short, with_tag
from agent.api.docker.image_query import version_of
from agent.api.docker.json_lines import Report, Work, write_json_lines
from agent.api.docker.platforms import read_platform
from agent.api.docker.progress_lines import Line, PushLines, pushed_lines, status
from agent.api.docker.registry_auth import HEADER, read_header
from agent.api.requests import context_of
from agent.api.sockets.images import known_as
from runtime.errors import Invalid, NotFound, SetpointError
from runtime.images.index import Record
from runtime.images.pushed import Pushed
from runtime.images.reference import Reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.told import DENIED


async def push(request: web.Request) -> web.StreamResponse:
    """The name of the path with ?tag=; all tags of it that are here when none is said."""
    context, name = context_of(request), request.match_info["name"]
    tag = request.query.get("tag", "")
    reference = with_tag(name, tag)
    if reference.digest:
        raise Invalid("", "", "cannot push a digest reference")
    platform = read_platform(request.query.get("platform", "")) if version_of(request) >= (1, 46) else ""
    credential = known_as(request, read_header(request.headers.get(HEADER, ""), reference))
    found = _here(context, reference, all_tags=not tag and not has_tag(name))
    for record in found:
        check_platform(find_image(context, record.name), platform)
    return await write_json_lines(request, _push(request, reference, found, credential))


def _here(context: Context, reference: Reference, *, all_tags: bool) -> list[Record]:
    named = [record for record in context.engine.images.records() if record.name]
    if not all_tags:
        return [record for record in named if record.name == reference.canonical]
    names = ((read_name(record.name), record) for record in named)
    return [record for name, record in names if name.repository == reference.repository and not name.digest]


async def _push(
    request: web.Request, reference: Reference, found: list[Record], credential: Credential | None
) -> AsyncIterator[Line]:
    """As Docker's daemon, which says where to before it looks for the image."""
    yield status(f"The push refers to repository [{reference.repository}]")
    if not found:
        repository = reference.familiar_repository
        raise NotFound("", "", f"An image does not exist locally with the tag: {repository}")
    for record in found:
        async for line in _push_one(request, record, credential):
            yield line


async def _push_one(
    request: web.Request, record: Record, credential: Credential | None
) -> AsyncIterator[Line]:
    context, reference = context_of(request), read_name(record.name)
    details = await asyncio.to_thread(context.engine.images.details, record.name)
    lines = PushLines({layer.digest: short(layer.diff_id) for layer in details.layers})
    for line in lines.begin():
        yield line

    async def begin(report: Report) -> Pushed:
        try:
            pushed: Pushed = await context.engine.push_image(record.name, report, credential=credential)
        except SetpointError as error:
            raise push_error(error) from None
        return pushed

    work = Work(request, lines, begin)
    async for line in work.told():
        yield line
    image_events.note(context, image_events.PUSHED, record.image_id, reference.familiar)
    for line in pushed_lines(reference.tag, work.result.digest, record.manifest_size):
        yield line


def push_error(error: SetpointError) -> SetpointError:
    """In the daemon's words where one must log in."""
    if isinstance(error, Invalid) and error.reason.startswith(DENIED):
        said = error.reason.removeprefix(f"{DENIED}: ")
        return Invalid("", "", f"denied: requested access to the resource is denied: {said}")
    return error
