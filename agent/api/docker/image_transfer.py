"""Images from registries: `POST /images/create` is a pull, or an import. Who asks the registry is in
X-Registry-Auth, for this one pull: it is kept nowhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import image_events
from agent.api.docker.image_archives import import_image
from agent.api.docker.image_names import has_tag, is_reserved, registry_digest, with_tag
from agent.api.docker.image_query import version_of
from agent.api.docker.json_lines import Report, Work, write_json_lines
from agent.api.docker.platforms import read_platform
from agent.api.docker.progress_lines import Line, PullLines, status
from agent.api.docker.registry_auth import HEADER, read_header
from agent.api.requests import context_of
from agent.api.sockets.images import known_as
from runtime.errors import Invalid, NotFound, SetpointError
from runtime.images.index import Record
from runtime.images.reference import Reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.told import DENIED
from runtime.model import ImageInfo

MAX_TAGS = 10_000


@dataclass(frozen=True, slots=True)
class Wish:
    """platform: "" for this host's. credential: None for who we are to that registry anyway."""

    platform: str
    credential: Credential | None


async def create(request: web.Request) -> web.StreamResponse:
    """?fromImage= and ?tag= (or a digest) fetch an image for ?platform=, all tags of it when none is said;
    ?fromSrc=- makes one of the body."""
    name = request.query.get("fromImage", "")
    if not name:
        return await import_image(request)
    context, tag = context_of(request), request.query.get("tag", "")
    reference = with_tag(name, tag)
    if is_reserved(reference):
        raise web.HTTPForbidden(reason="'scratch' is a reserved name")
    context.loop.check_image("pull image", reference.canonical)
    platform = request.query.get("platform", "") if version_of(request) >= (1, 32) else ""
    wish = Wish(
        read_platform(platform), known_as(request, read_header(request.headers.get(HEADER, ""), reference))
    )
    if tag or has_tag(name.removesuffix(":")):
        return await write_json_lines(request, _pull(request, [reference], reference.familiar, wish))
    tagged = [with_tag(reference.repository, each) for each in await _tags(context, reference, wish)]
    return await write_json_lines(request, _pull(request, tagged, reference.familiar_repository, wish))


async def _tags(context: Context, reference: Reference, wish: Wish) -> list[str]:
    try:
        tags: list[str] = await context.engine.registries.tags(reference.canonical, MAX_TAGS, wish.credential)
    except SetpointError as error:
        raise pull_error(error, reference) from None
    if not tags:
        raise NotFound("", "", f"repository {reference.familiar_repository} has no tags")
    return tags


async def _pull(
    request: web.Request, references: Sequence[Reference], shown_as: str, wish: Wish
) -> AsyncIterator[Line]:
    """One after the other. One that is not for this platform ends it, as with Docker's daemon."""
    context, is_new = context_of(request), False
    for reference in references:
        context.loop.check_image("pull image", reference.canonical)
        before = _record(context, reference)
        async for line in _pull_one(request, context, reference, wish):
            yield line
        after = _record(context, reference)
        is_new = is_new or before is None or after is None or before.image_id != after.image_id
        if after is not None:
            yield status(f"Digest: {registry_digest(after)}")
    verdict = "Downloaded newer image" if is_new else "Image is up to date"
    yield status(f"Status: {verdict} for {shown_as}")


async def _pull_one(
    request: web.Request, context: Context, reference: Reference, wish: Wish
) -> AsyncIterator[Line]:
    """It ends with the client, unless somebody else waits for the same."""

    async def begin(report: Report) -> ImageInfo:
        try:
            image: ImageInfo = await context.engine.pull_image(
                reference.canonical, report, platform=wish.platform, credential=wish.credential
            )
        except SetpointError as error:
            raise pull_error(error, reference) from None
        return image

    work = Work(request, PullLines(), begin)
    first: Line = {"status": f"Pulling from {reference.path}", "id": reference.digest or reference.tag}
    async for line in work.told():  # from here on it is known that there is such an image
        if first:
            yield first
            first = {}
        yield line
    if first:
        yield first
    image_events.note(context, image_events.PULLED, work.result.id, reference.familiar)


def _record(context: Context, reference: Reference) -> Record | None:
    records: tuple[Record, ...] = context.engine.images.records()
    return next((record for record in records if record.name == reference.canonical), None)


def pull_error(error: SetpointError, reference: Reference) -> SetpointError:
    """What clients look for in the daemon's words: that there is no such image, or that one must log in."""
    if isinstance(error, NotFound):
        return NotFound(
            "", "", f"manifest for {reference.familiar} not found: manifest unknown: {error.reason}"
        )
    if isinstance(error, Invalid) and error.reason.startswith(DENIED):
        return NotFound(
            "", "", f"pull access denied for {reference.familiar_repository}, repository does not exist or "
            f"may require 'docker login': denied: {error.reason.removeprefix(f'{DENIED}: ')}",
        )  # fmt: skip
    return error
