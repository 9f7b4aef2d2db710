"""`os/architecture[/variant]` as Docker spells platforms, and the build arguments that tell them. Pure."""

from __future__ import annotations

import re

from runtime.images.dockerfile.problems import Mistake, shown

_PART = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
_ARCHITECTURES = {
    "x86_64": ("amd64", ""), "x86-64": ("amd64", ""), "aarch64": ("arm64", ""), "i386": ("386", ""),
    "i686": ("386", ""), "armhf": ("arm", "v7"), "armel": ("arm", "v6"),
}  # fmt: skip
_DEFAULT_VARIANTS = {
    ("arm64", "v8"): "",
    ("arm64", "8"): "",
    ("amd64", "v1"): "",
    ("arm", ""): "v7",
    ("arm", "7"): "v7",
}


def normal_platform(text: str) -> str:
    """One spelling for each: `linux/aarch64/v8` is `linux/arm64`. A lone architecture is linux's."""
    parts = text.lower().split("/")
    if len(parts) > 3 or not all(_PART.fullmatch(part) for part in parts):
        raise Mistake(f"{shown(text)} is no platform", "write linux/amd64 or linux/arm/v7", text)
    if len(parts) == 1:
        parts = [parts[0], ""] if parts[0] in ("linux", "windows") else ["linux", parts[0]]
    if not parts[1]:
        raise Mistake(f"{shown(text)} names no architecture", "write linux/amd64", text)
    system, architecture, variant = (*parts, "")[:3]
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = variant or implied
    variant = _DEFAULT_VARIANTS.get((architecture, variant), variant)
    return "/".join(filter(None, (system, architecture, variant)))


def platform_arguments(target: str, build: str, stage: str) -> dict[str, str]:
    """What every Dockerfile may name before its first FROM, and after `ARG NAME` inside a stage."""
    return {**_parts("TARGET", target), **_parts("BUILD", build), "TARGETSTAGE": stage or "default"}


def _parts(prefix: str, platform: str) -> dict[str, str]:
    system, architecture, variant = (*platform.split("/"), "", "")[:3]
    return {
        f"{prefix}PLATFORM": platform,
        f"{prefix}OS": system,
        f"{prefix}OSVERSION": "",
        f"{prefix}ARCH": architecture,
        f"{prefix}VARIANT": variant,
    }
