"""The config document of the image that a build makes. Pure.

What a build does not know of its base's document (an extension of OCI's) is left as it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from runtime.images.dockerfile.config_document import to_document
from runtime.images.dockerfile.image_config import ImageConfig
from runtime.images.documents import Platform

# What speaks of the base as it was made and run, and would be wrong of what is built on it.
_WRITTEN = frozenset((
    "created", "architecture", "os", "variant", "config", "rootfs", "history", "author", "container",
    "container_config", "id", "parent", "docker_version",
))  # fmt: skip
_KNOWN = frozenset((
    "Env", "Entrypoint", "Cmd", "WorkingDir", "User", "ExposedPorts", "Volumes", "Labels", "StopSignal",
    "Healthcheck", "Shell", "OnBuild", "Image", "Hostname", "Domainname", "AttachStdin", "AttachStdout",
    "AttachStderr", "Tty", "OpenStdin", "StdinOnce",
))  # fmt: skip


def write_config(
    config: ImageConfig,
    *,
    base: Mapping[str, Any] | None,
    platform: Platform,
    diff_ids: Sequence[str],
    history: Sequence[Mapping[str, Any]],
    created: str,
) -> bytes:
    """Equal arguments make equal bytes."""
    before = base or {}
    others = {name: value for name, value in (before.get("config") or {}).items() if name not in _KNOWN}
    document = {name: value for name, value in before.items() if name not in _WRITTEN} | {
        "created": created,
        "architecture": platform.architecture,
        "os": platform.os,
        "config": others | to_document(config),
        "rootfs": {"type": "layers", "diff_ids": list(diff_ids)},
        "history": [dict(entry) for entry in history],
    }
    if platform.variant:
        document["variant"] = platform.variant
    if config.author:
        document["author"] = config.author
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
