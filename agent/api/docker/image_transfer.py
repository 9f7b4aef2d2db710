"""Images on their way from and to registries: pull, push. `POST /images/create` is a pull or an import."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web

from agent.api.context import Context
from agent.api.docker import image_events
from agent.api.docker.image_archives import import_image
from agent.api.docker.image_finding import check_platform, find_image
from agent.api.docker.image_names import check_pulled, has_tag, read_name, registry_digest, short, with_tag
from agent.api.docker.image_query import version_of
from agent.api.docker.json_lines import Report, Work, write_json_lines
from agent.api.docker.platforms import read_platform
from agent.api.docker.progress_lines import Line, PullLines, PushLines, pushed_lines, status
from agent.api.docker.registry_auth import HEADER, read_header
from agent.api.requests import context_of
from runtime.errors import Invalid, NotFound, SetpointError
from runtime.images.index import Record
from runtime.images.pushed import Pushed
from runtime.images.reference import Reference
from runtime.images.registry.credentials import Credential
from runtime.images.registry.tokens import DENIED
from runtime.model import ImageInfo

MAX_TAGS = 10_000


async def create(request: web.Request) -> web.StreamResponse:
    """?fromImage= and ?tag= (or a digest) fetch an image for ?platform=, all tags of it when none is said;
    ?fromSrc=- makes one of the body. Who asks the registry is in X-Registry-Auth, for this once."""
    name = request.query.get("fromImage", "")
    if not name:
        return await import_image(request)
    context, tag = context_of(request), request.query.get("tag", "")
    reference = with_tag(name, tag)
    check_pulled(reference)
    context.loop.check_image("pull image", reference.canonical)
    platform = request.query.get("platform", "") if version_of(request) >= (1, 32) else ""
    platform = read_platform(platform)
    credential = read_header(request.headers.get(HEADER, ""), reference)
    if tag or has_tag(name.removesuffix(":")):
        lines = _pull(request, context, reference, platform, credential)
    else:
        lines = _pull_all(request, context, reference, platform, credential)
    return await write_json_lines(request, lines)


async def _pull(
    request: web.Request, context: Context, reference: Reference, platform: str, credential: Credential | None
) -> AsyncIterator[Line]:
    """It ends with the client, unless somebody else waits for the same."""
    before = _record(context, reference)

    async def begin(report: Report) -> ImageInfo:
        try:
            image: ImageInfo = await context.engine.pull_image(
                reference.canonical, report, platform=platform, credential=credential
            )
        except SetpointError as error:
            raise pull_error(error, reference) from None
        return image

    work = Work(request, PullLines(), begin)
    first = status(
        f"Pulling from {reference.path if reference.domain == 'docker.io' else reference.repository}",
        reference.digest or reference.tag,
    )
    async for line in work.told():
        if first:
            yield {name: value for name, value in first.items() if name != "progressDetail"}
            first = {}
        yield line
    if first:
        yield {name: value for name, value in first.items() if name != "progressDetail"}
    record = _record(context, reference)
    is_new = before is None or record is None or before.image_id != record.image_id
    image_events.note(context, image_events.PULLED, work.result.id, reference.familiar)
    if record is not None:
        yield status(f"Digest: {registry_digest(record)}")
    verdict = "Downloaded newer image for" if is_new else "Image is up to date for"
    yield status(f"Status: {verdict} {reference.familiar}")


async def _pull_all(
    request: web.Request, context: Context, reference: Reference, platform: str, credential: Credential | None
) -> AsyncIterator[Line]:
    """Tag after tag. One that is not for this platform ends it, as with Docker's daemon."""
    try:
        tags = await context.engine.registries.tags(reference.canonical, MAX_TAGS, credential)
    except SetpointError as error:
        raise pull_error(error, reference) from None
    if not tags:
        raise NotFound("", "", f"repository {reference.familiar_repository} has no tags")
    for tag in tags:
        tagged = with_tag(reference.repository, tag)
        context.loop.check_image("pull image", tagged.canonical)
        async for line in _pull(request, context, tagged, platform, credential):
            yield line


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


# --- push -----------------------------------------------------------------------------------------


async def push(request: web.Request) -> web.StreamResponse:
    """The name of the path with ?tag=; all tags of it that are here when none is said."""
    context, name = context_of(request), request.match_info["name"]
    tag = request.query.get("tag", "")
    reference = with_tag(name, tag)
    if reference.digest:
        raise Invalid("", "", "cannot push a digest reference")
    platform = read_platform(request.query.get("platform", "")) if version_of(request) >= (1, 46) else ""
    credential = read_header(request.headers.get(HEADER, ""), reference)
    all_tags = not tag and not has_tag(name)
    return await write_json_lines(
        request, _push(request, context, reference, platform, credential, all_tags=all_tags)
    )


async def _push(
    request: web.Request,
    context: Context,
    reference: Reference,
    platform: str,
    credential: Credential | None,
    *,
    all_tags: bool,
) -> AsyncIterator[Line]:
    yield status(f"The push refers to repository [{reference.repository}]")
    found = _here(context, reference, all_tags=all_tags)
    if not found:
        raise NotFound(
            "", "", f"An image does not exist locally with the tag: {reference.familiar_repository}"
        )
    for record in found:
        check_platform(find_image(context, record.name), platform)
        async for line in _push_one(request, context, record, credential):
            yield line


def _here(context: Context, reference: Reference, *, all_tags: bool) -> list[Record]:
    named = [record for record in context.engine.images.records() if record.name]
    if not all_tags:
        return [record for record in named if record.name == reference.canonical]
    names = ((read_name(record.name), record) for record in named)
    return [record for name, record in names if name.repository == reference.repository and not name.digest]


async def _push_one(
    request: web.Request, context: Context, record: Record, credential: Credential | None
) -> AsyncIterator[Line]:
    reference = read_name(record.name)
    details = context.engine.images.details(record.name)
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
    if isinstance(error, Invalid) and error.reason.startswith(DENIED):
        said = error.reason.removeprefix(f"{DENIED}: ")
        return Invalid("", "", f"denied: requested access to the resource is denied: {said}")
    return error
