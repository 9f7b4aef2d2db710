"""Platforms in queries: `linux/arm64/v8`, and since version 1.46 JSON of OCI's. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.api.docker.bodies import read_json, text_of
from runtime.errors import Invalid
from runtime.images.platforms import parse_platform


def read_platform(text: str) -> str:
    """As `os/architecture[/variant]`, checked; "" for none."""
    if not text:
        return ""
    if text.lstrip().startswith("{"):
        data = read_json(text.encode("utf-8", "surrogateescape"))
        parts = [text_of(data, name) for name in ("os", "architecture", "variant")]
        text = "/".join(filter(None, parts))
    return str(parse_platform(text))


def read_one(texts: Sequence[str]) -> str:
    """Of a word that may be there several times. An image here is for one platform alone."""
    found = {read_platform(text) for text in texts} - {""}
    if len(found) > 1:
        raise Invalid(
            "", "", "multiple platform parameters are not supported: an image here has one platform"
        )
    return next(iter(found), "")
