"""Which images may be named at a scoped socket whose limits have a list of them. Images have no owner, and
many names: one that is here is judged by the name that is said, or, said by its id, by those that it has.
Called by `gate`, by the create of containers and by builds.
"""

from __future__ import annotations

import fnmatch

from aiohttp import web

from agent.api.context import Context
from agent.api.docker.answers import Forbidden
from agent.api.docker.image_finding import find_image
from agent.api.docker.image_names import has_tag, with_tag
from agent.api.requests import context_of
from agent.api.sockets.scope import Scope
from agent.policy.images import is_in_list
from runtime.errors import Invalid, NotFound


def check_request(request: web.Request, scope: Scope, path: str) -> None:
    """Of what a path and its query name. Forbidden for what is not in the list."""
    query = request.query
    if scope.allow.images is None:
        return
    if path in ("/images/{name}/push", "/distribution/{name}/json"):
        check_name(scope, request.match_info["name"], query.get("tag", ""))
    elif path.startswith("/images/{name}"):
        check_here(context_of(request), scope, request.match_info["name"])
    elif path == "/images/create" and not query.get("fromSrc"):
        check_name(scope, query.get("fromImage", ""), query.get("tag", ""))
    elif path == "/images/search" and query.get("term", ""):
        raise Forbidden(f"a search is not allowed at the socket {scope.name}, which has a list of images")
    for name in query.getall("names", []) if path == "/images/get" else ():
        check_here(context_of(request), scope, name)
    for name in query.getall("t", []) if path == "/build" else ():
        check_name(scope, name, "latest" if name and not has_tag(name) else "")
    if path in ("/images/{name}/tag", "/commit", "/images/create") and query.get("repo"):
        check_name(scope, query["repo"], query.get("tag", "") or "latest")


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


def check_here(context: Context, scope: Scope, text: str) -> None:
    """Of an image that is here. What is not here is for the handler to say."""
    patterns = scope.allow.images
    if patterns is None:
        return
    try:
        found = find_image(context, text)
    except NotFound:
        return
    names = [found.name] if found.name else [record.name for record in found.records if record.name]
    if not any(is_in_list(patterns, name) for name in names):
        raise _forbidden(scope, text)


def _forbidden(scope: Scope, name: str) -> Forbidden:
    return Forbidden(f"image {name[:128]} is not allowed at the socket {scope.name}")
