"""What registries tell: whether they know somebody, what a name means there, which images they have."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from agent.api.docker.answers import json_answer
from agent.api.docker.bodies import json_body
from agent.api.docker.filters import flag_of, read_filters
from agent.api.docker.image_names import read_name
from agent.api.docker.image_query import whole_word
from agent.api.docker.image_transfer import pull_error
from agent.api.docker.registry_auth import HEADER, credential_of, domain_of, read_header
from agent.api.requests import context_of
from agent.api.sockets.images import known_as
from runtime.errors import Invalid, SetpointError
from runtime.images.reference import DEFAULT_DOMAIN, Reference, parse_reference
from runtime.images.registry.endpoints import host_of
from runtime.images.registry.told import DENIED

MAX_WORD = 200
MAX_FOUND = 100
FOUND = 25
OF_SEARCH = ("is-official", "is-automated", "stars")


async def authenticate(request: web.Request) -> web.StreamResponse:
    """Whether a registry lets somebody in. Nothing of it is kept: the client keeps its logins."""
    context, data = context_of(request), await json_body(request)
    domain = domain_of(str(data.get("serveraddress") or ""))
    credential = credential_of(data, domain)
    if credential is None:
        raise Invalid("", "", "no username and password")
    try:
        await context.engine.registries.check_login(domain, credential)
    except Invalid as error:
        if not error.reason.startswith(DENIED):
            raise
        reason = f"login attempt to https://{host_of(domain)}/v2/ failed with status: 401 Unauthorized"
        raise web.HTTPUnauthorized(reason=reason) from None
    return json_answer({"Status": "Login Succeeded", "IdentityToken": ""})


async def distribution(request: web.Request) -> web.StreamResponse:
    """What the registry has under a name now, and for which platforms."""
    context, reference = context_of(request), read_name(request.match_info["name"])
    credential = known_as(request, read_header(request.headers.get(HEADER, ""), reference))
    context.loop.check_image("inspect image", reference.canonical)
    try:
        found = await context.engine.registries.resolve(reference.canonical, credential)
    except SetpointError as error:
        raise pull_error(error, reference) from None
    return json_answer({
        "Descriptor": {
            "mediaType": found["media_type"], "digest": found["digest"], "size": found["size_bytes"],
        },
        "Platforms": [_platform(each) for each in found["platforms"]],
    })  # fmt: skip


def _platform(said: dict[str, Any]) -> dict[str, str]:
    return {name: said[name] for name in ("architecture", "os", "variant") if said.get(name)}


async def search(request: web.Request) -> web.StreamResponse:
    """?term=, with a registry before it or without: the hub's. ?limit= ?filters="""
    context, term = context_of(request), request.query.get("term", "")
    most = whole_word(request, "limit", FOUND, 1, MAX_FOUND)
    filters = read_filters(request.query.get("filters", ""), OF_SEARCH)
    is_official, is_automated = flag_of(filters, "is-official"), flag_of(filters, "is-automated")
    stars = max(map(_stars, filters.get("stars", ())), default=0)
    domain, word = split_term(term)
    credential = known_as(request, read_header(request.headers.get(HEADER, ""), Reference(domain, "")))
    found = await context.engine.registries.search(domain, word, most, credential)
    rows = [_row(each) for each in found]
    return json_answer([
        row
        for row in rows
        if row["star_count"] >= stars
        and is_official in (None, row["is_official"])
        and is_automated in (None, row["is_automated"])
    ])  # fmt: skip


def split_term(term: str) -> tuple[str, str]:
    """(registry, word): `localhost:5000/web` asks that registry for web."""
    if not term or len(term) > MAX_WORD or not term.isprintable():
        raise Invalid("", "", "invalid search term")
    if "://" in term:
        raise Invalid(
            "", "", f'invalid repository name ({term}): should not have a scheme "http://" or "https://"'
        )
    first, slash, rest = term.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        return DEFAULT_DOMAIN, term
    return parse_reference(f"{first}/x/y").domain, rest


def _stars(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise Invalid("", "", f"invalid filter 'stars=[{text[:20]}]'")
    return int(text)


def _row(found: dict[str, Any]) -> dict[str, Any]:
    return {
        "description": found["description"], "is_automated": False, "is_official": found["is_official"],
        "name": found["name"], "star_count": max(0, found["stars"]),
    }  # fmt: skip
