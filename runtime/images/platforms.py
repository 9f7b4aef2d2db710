"""`os/architecture[/variant]` as people write platforms, to values. Pure."""

from __future__ import annotations

import re

from runtime.errors import Invalid, Unsupported
from runtime.images.documents import Platform, parse_json

_PART = re.compile(r"[a-z0-9][a-z0-9_.-]{0,31}")
_SPELLINGS = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "aarch64": ("arm64", "v8"), "i386": ("386", ""),
    "i686": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6"),
}  # fmt: skip
_VARIANTS = {("arm64", ""): "v8", ("arm64", "8"): "v8", ("arm", ""): "v7", ("amd64", "v1"): ""}


def parse_platform(text: str) -> Platform:
    """`linux/arm64/v8`, `linux/arm64` and `arm64` are one. `Invalid` for what is no platform, or one of
    another system's."""
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts = ["linux", *parts]
    if len(parts) > 3 or not all(map(_PART.fullmatch, parts)):
        raise Invalid("read platform", repr(text[:100]), "no platform", "write linux/amd64 or linux/arm/v7")
    system, architecture, variant = (*parts, "")[:3]
    if system != "linux":
        raise Invalid("read platform", repr(text[:100]), "not for Linux", "write linux/amd64")
    architecture, implied = _SPELLINGS.get(architecture, (architecture, ""))
    variant = variant or implied
    return Platform("linux", architecture, _VARIANTS.get((architecture, variant), variant))


def check_platform(config: bytes, wanted: Platform, subject: str) -> None:
    """`Unsupported` for an image that is made for another architecture."""
    said = parse_json(config, subject)
    found = Platform(str(said.get("os", "linux"))[:40], str(said.get("architecture", ""))[:40])
    if (found.os, found.architecture) != (wanted.os, wanted.architecture):
        reason = f"made for {found}, not for {wanted}"
        raise Unsupported("read image", subject, reason, "get it for this platform")
