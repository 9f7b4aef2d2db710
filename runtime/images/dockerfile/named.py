"""What a build was given beside its context, by the names that a Dockerfile uses for it. Pure.

    FROM alpine, COPY --from=shared   ─ find_named ─> an image in its place, a directory, or nothing

As BuildKit has it, such a name goes before a stage and an image of the same name, and `alpine` is
`alpine:latest`. Called by graph.py.
"""

from __future__ import annotations

from runtime.errors import Invalid
from runtime.images.dockerfile.build_plan import BuildRequest
from runtime.images.dockerfile.problems import Mistake, shown
from runtime.images.dockerfile.steps import FromContext, FromImage
from runtime.images.reference import parse_reference


def find_named(request: BuildRequest, name: str, platform: str) -> FromImage | FromContext | None:
    """None where nothing was given under that name."""
    for given, reference in request.contexts.items():
        if given.lower() == name.lower() or _is_same_image(given, name):
            return (
                FromImage(parse_reference(reference).canonical, platform) if reference else FromContext(given)
            )
    return None


def named_base(request: BuildRequest, name: str, platform: str) -> FromImage | None:
    """The same for a FROM. `Mistake` for a directory."""
    found = find_named(request, name, platform) if name else None
    if isinstance(found, FromContext):
        hint = "COPY --from takes files of it; a base is an image: docker-image://NAME"
        raise Mistake(f"{shown(name)} was given as a directory, which is no base", hint, name)
    return found


def _is_same_image(one: str, other: str) -> bool:
    try:
        return parse_reference(one).canonical == parse_reference(other).canonical
    except Invalid:
        return False
