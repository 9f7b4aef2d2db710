"""The spec of an Image: one that is kept here whether or not a container uses it, and what of it is newer."""

from __future__ import annotations

from typing import Any

from agent.manifest import parse_update
from agent.manifest.nodes import Node
from agent.manifest.parse_values import Parser, boolean, choice, fields
from agent.manifest.reading import Reading
from agent.manifest.service import image, labels
from agent.manifest.spec import ImageSpec

FIELDS: dict[str, Parser[Any]] = {
    "ensure": choice("present", "absent"),
    "image": image,
    "labels": labels,
    "pull_policy": choice("missing", "never"),
    "suspend": boolean,
    "update": parse_update.update,
}


def read_image(r: Reading, node: Node) -> ImageSpec:
    return ImageSpec(**fields(r, node, FIELDS, required=("image",)))
