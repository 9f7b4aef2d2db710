"""What a build takes files of: its context, and what is beside it by a name. Used by `parse_build`."""

from __future__ import annotations

import posixpath
import re

from agent.manifest.nodes import Node
from agent.manifest.objects import NO_DOCKERFILE
from agent.manifest.parse_values import Parser, filled, guard, pairs
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import NamedContext

_IMAGE_SCHEME = "docker-image://"
_IMAGE = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,510}")
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]{0,250}")
MAX_NAMED = 100


def directory(r: Reading, value: str) -> str:
    """A directory of the source: what is built is what was committed with the manifest."""
    if "://" in value or value.startswith(("git@", "/", "~")):
        hint = "a directory beside the manifest, such as . or ./web"
        raise Refuse(f"{value[:80]!r} is not in the directory of the manifests", hint)
    whole = posixpath.normpath(posixpath.join(r.directory, value))
    if whole == ".." or whole.startswith("../"):
        raise Refuse(f"{value[:80]!r} is above the directory of the manifests", "move it below")
    return "" if whole == "." else whole


def context(r: Reading, node: Node) -> str:
    return directory(r, filled(r, node))


def additional_contexts(r: Reading, node: Node) -> dict[str, NamedContext]:
    """name -> an image or a directory, as a mapping or a list of `name=value`."""
    found = pairs(r, node)
    if len(found) > MAX_NAMED:
        raise Refuse(f"more than {MAX_NAMED} of them")
    contexts: dict[str, NamedContext] = {}
    for name, (value, at) in found.items():
        read = guard(r, at, _parser(name, value or ""))
        if read is not None:
            contexts[name] = read
    return contexts


def _parser(name: str, value: str) -> Parser[NamedContext]:
    return lambda r, node: _named(r, name, value, node)


def _named(r: Reading, name: str, value: str, at: Node) -> NamedContext:
    if not _NAME.fullmatch(name):
        raise Refuse(
            f'"{name[:60]}" is not a name that COPY --from can have', "letters, digits, . _ - / :", at
        )
    if not value:
        raise Refuse(f'"{name}" has no value', "a directory, or docker-image://NAME", at)
    if value.startswith("service:"):
        hint = "name its image (docker-image://NAME), or its directory"
        raise Refuse(f'"{name}": {value[:80]}: an image of another service is not waited for', hint, at)
    if value.startswith(_IMAGE_SCHEME):
        return NamedContext(image=_image(name, value.removeprefix(_IMAGE_SCHEME), at))
    try:
        path = directory(r, value)
    except Refuse as refusal:
        raise Refuse(f'"{name}": {refusal.message}', f"{refusal.hint}, or docker-image://NAME", at) from None
    tree = r.tree(path, NO_DOCKERFILE)
    return NamedContext(context=path, **({"tree": tree} if tree else {}))


def _image(name: str, image: str, at: Node) -> str:
    if not _IMAGE.fullmatch(image):
        raise Refuse(
            f'"{name}": {image[:80]!r} is not an image\'s name', "such as docker-image://nginx:1.27", at
        )
    return image
