"""Where a build's cache comes from and goes to: images of a registry. Used by `parse_build`."""

from __future__ import annotations

import re

from agent.manifest.nodes import Node
from agent.manifest.parse_values import did_you_mean, items, text
from agent.manifest.reading import Reading, Refuse

NAME = r"[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,250}"
NAME_HINT = "an image's name, such as shop/web:1"
_NAME = re.compile(NAME)
_MODES = ("min", "max")  # all steps are sent, whichever: what BuildKit's "min" leaves out does no harm


def cache_from(r: Reading, node: Node) -> tuple[str, ...]:
    return items(r, node, _image)


def cache_to(r: Reading, node: Node) -> str:
    found = items(r, node, _image)
    if len(found) > 1:
        raise Refuse("more than one cache to write", "keep one of them")
    return found[0] if found else ""


def _image(r: Reading, node: Node) -> str:
    """`NAME`, or `type=registry,ref=NAME`, as compose has it."""
    value = text(r, node)
    name = _reference(value) if "=" in value else value
    if not _NAME.fullmatch(name):
        raise Refuse(f'"{name[:80]}" is not valid', NAME_HINT)
    return name


def _reference(value: str) -> str:
    options: dict[str, str] = {}
    for word in value.split(","):
        name, _, content = word.partition("=")
        options[name] = content
    kind = options.pop("type", "registry")
    if kind != "registry":
        raise Refuse(
            f'a cache of type "{kind[:40]}" is not supported', "type=registry,ref=NAME, or NAME alone"
        )
    name = options.pop("ref", "")
    if options.pop("mode", "max") not in _MODES:
        raise Refuse("mode is min or max")
    for other in options:
        raise Refuse(f'"{other[:40]}" is no option of a cache here', did_you_mean(other, ("ref", "mode")))
    return name
