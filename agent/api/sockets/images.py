"""Which images may be named at a scoped socket, and who it is to registries. Images have no owner, and many
names: one that is here is judged by the name that is said, or, said by its id, by those that it has.

With a list in its limits, what is in it is the socket's to use and change, with this host's logins. Without
one it may use any image that is here, but it is nobody to registries, and names that manifests run stay what
they are: what they mean runs with what those may have. Called by `gate`, by the create of containers, by
builds, and by whatever shows images or asks registries.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from aiohttp import web

from agent.api.context import Context
from agent.api.docker.answers import Forbidden
from agent.api.docker.image_finding import find_image
from agent.api.docker.image_names import has_tag, with_tag
from agent.api.docker.wanted_images import wanted_names
from agent.api.requests import context_of
from agent.api.sockets.scope import Scope
from agent.api.ways import scope_of
from agent.policy.images import is_in_list
from runtime.errors import Invalid, NotFound
from runtime.images.reference import parse_reference
from runtime.images.registry.credentials import ANYBODY, Credential


def check_request(request: web.Request, scope: Scope, path: str) -> None:
    """Of what a path and its query name. Forbidden for what is not in the list."""
    query = request.query
    if scope.allow.images is None:
        _check_manifests(request, scope, path)
        return
    if path in ("/images/{name}/push", "/distribution/{name}/json"):
        check_name(scope, request.match_info["name"], query.get("tag", ""))
    elif path.startswith("/images/{name}"):
        is_removal = request.method == "DELETE"
        check_here(context_of(request), scope, request.match_info["name"], every=is_removal)
    elif path == "/images/create" and query.get("fromImage"):
        check_name(scope, query["fromImage"], query.get("tag", ""))
    elif path == "/images/search" and query.get("term", ""):
        raise Forbidden(f"a search is not allowed at the socket {scope.name}, which has a list of images")
    for name in query.getall("names", []) if path == "/images/get" else ():
        check_here(context_of(request), scope, name)
    for name, tag in _given_names(request, path):
        check_name(scope, name, tag)


def _given_names(request: web.Request, path: str) -> Iterator[tuple[str, str]]:
    """The names that an image gets: each, and its tag where that is said apart."""
    query = request.query
    for name in query.getall("t", []) if path == "/build" else ():
        yield name, "latest" if name and not has_tag(name) else ""
    if path in ("/images/{name}/tag", "/commit", "/images/create") and query.get("repo"):
        yield query["repo"], query.get("tag", "") or "latest"


def _check_manifests(request: web.Request, scope: Scope, path: str) -> None:
    """No name that a manifest runs is given to another image, or taken away."""
    names = {_canonical(name, tag) for name, tag in _given_names(request, path)}
    if request.method == "DELETE" and path == "/images/{name}":
        names = _names_of(request)
    if not names:
        return
    places = wanted_names(context_of(request))
    if name := next((each for each in sorted(names) if each in places), ""):
        what, place = parse_reference(name).familiar, places[name]
        raise Forbidden(
            f"image {what} is not to be changed at the socket {scope.name}: {place} runs it "
            f"(hint: add {what} to limits.images there)"
        )


def _canonical(name: str, tag: str) -> str:
    """ "" for what is none, which the handler says."""
    try:
        return with_tag(name, tag).canonical
    except Invalid:
        return ""


def _names_of(request: web.Request) -> set[str]:
    """Those that a removal takes away."""
    try:
        found = find_image(context_of(request), request.match_info["name"])
    except (NotFound, Invalid):
        return set()
    return {found.name} if found.name else {record.name for record in found.records}


def check_name(scope: Scope, name: str, tag: str = "") -> None:
    """As handlers read it. One without a tag is all of its repository."""
    patterns = scope.allow.images
    if patterns is None:
        return
    try:
        reference = with_tag(name, tag)
    except Invalid:
        raise _forbidden(scope, f"{name}:{tag}" if tag else name) from None
    if tag or has_tag(name.removesuffix(":")):
        is_in = is_in_list(patterns, reference.canonical)
    else:
        is_in = any(fnmatch.fnmatchcase(reference.repository, pattern) for pattern in patterns)
    if not is_in:
        raise _forbidden(scope, reference.familiar)


def check_base(scope: Scope, reference: str) -> None:
    """Of what a build is made of. Invalid, which a build tells in its stream."""
    if scope.allow.images is not None and not is_in_list(scope.allow.images, reference):
        raise Invalid("build image", reference[:128], f"not allowed at the socket {scope.name}")


def check_here(context: Context, scope: Scope, text: str, *, every: bool = False) -> None:
    """Of an image that is here. What is not here is for the handler to say. every: all of its names must be
    in the list, since what is done is done to all."""
    patterns = scope.allow.images
    if patterns is None:
        return
    try:
        found = find_image(context, text)
    except NotFound:
        return
    names = [found.name] if found.name else [record.name for record in found.records if record.name]
    are_in = [is_in_list(patterns, name) for name in names]
    if not (all if every else any)(are_in) or not are_in:
        raise _forbidden(scope, text)


def is_listed(request: web.Request, name: str) -> bool:
    """Whether an image of that canonical name is shown in lists, "" for one without a name."""
    scope = scope_of(request)
    patterns = scope.allow.images if scope is not None else None
    return patterns is None or (name != "" and is_in_list(patterns, name))


def known_as(request: web.Request, said: Credential | None) -> Credential | None:
    """Who asks a registry: who the client says, else this host where its logins are to be used."""
    scope = scope_of(request)
    return ANYBODY if said is None and scope is not None and scope.allow.images is None else said


def _forbidden(scope: Scope, name: str) -> Forbidden:
    return Forbidden(f"image {name[:128]} is not allowed at the socket {scope.name}")
