"""`update:` of a service or an image: which newer ones are looked for, and when they may be taken."""

from __future__ import annotations

from typing import Any

from agent.manifest.nodes import Node, Scalar
from agent.manifest.parse_values import Parser, boolean, choice, duration, fields, one_or_list, text
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import UpdateSpec
from agent.updates.window import FORM, parse_window

_policy = choice("digest", "patch", "minor", "major")


def _window(r: Reading, node: Node) -> str:
    value = text(r, node)
    if parse_window(value) is None:
        raise Refuse(f'"{value[:60]}" is not a window of time', FORM)
    return value


FIELDS: dict[str, Parser[Any]] = {
    "policy": _policy,
    "window": one_or_list(_window),
    "minimum_age": duration,
    "prereleases": boolean,
}


def update(r: Reading, node: Node) -> UpdateSpec:
    """A mapping, or the policy alone."""
    if isinstance(node, Scalar):
        return UpdateSpec(policy=_policy(r, node))
    return UpdateSpec(**fields(r, node, FIELDS, required=("policy",)))
