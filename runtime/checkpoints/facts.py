"""What is kept beside a checkpoint's images, and whether a container may start from it. Pure.

checkpoint.json   {"version": 1, "container": …, "image": …, "fingerprint": …, "mounts": …, "files": …}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from runtime import container_record
from runtime.errors import Conflict, Unsupported
from runtime.model import ContainerConfig

NAME = "checkpoint.json"
VERSION = 1
MAX_BYTES = 1 << 20
# What may differ: who it is, how much it may take, how it is stopped and written about.
_FREE = frozenset(
    ("id", "name", "hostname", "domainname", "labels", "annotations", "replaces", "resources", "sandbox",
     "stop_signal", "log_max_bytes", "log_max_files")
)  # fmt: skip
_OWN_IPC = ("", "private", "shareable", "none")


@dataclass(frozen=True, slots=True)
class Facts:
    """container: its id. fingerprint: of its config (`fingerprint`). mounts: (target, what it shows) as
    `outside.find_mounts` tells. files: "stdin", "stdout", "stderr" and the network namespace -> the key that
    CRIU knows each by. created_at: Unix seconds."""

    container: str
    image: str
    fingerprint: str
    created_at: float
    mounts: tuple[tuple[str, str], ...]
    files: Mapping[str, str]

    def to_json(self) -> str:
        return json.dumps(
            {
                "version": VERSION, "container": self.container, "image": self.image,
                "fingerprint": self.fingerprint, "created_at": self.created_at,
                "mounts": self.mounts, "files": dict(self.files),
            }
        )  # fmt: skip


def parse(text: bytes) -> Facts:
    """The inverse. ValueError for what no Setpoint of this version wrote."""
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ValueError("not of this version")
    try:
        return Facts(
            container=str(found["container"]),
            image=str(found["image"]),
            fingerprint=str(found["fingerprint"]),
            created_at=float(found["created_at"]),
            mounts=tuple((str(target), str(what)) for target, what in found["mounts"]),
            files={str(name): str(key) for name, key in found["files"].items()},
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"incomplete: {error}") from error


def fingerprint(config: ContainerConfig) -> str:
    """Equal for containers that a process can move between: one image, command, mounts, rights and names."""
    fields: dict[str, Any] = container_record.to_json(config)
    kept = {name: value for name, value in fields.items() if name not in _FREE}
    kept["network"] = "host" if config.sandbox.mode == "host" else "own"
    text = json.dumps(kept, sort_keys=True, default=container_record.to_json)
    return hashlib.sha256(text.encode()).hexdigest()


def refuse_unfit(config: ContainerConfig, op: str) -> None:
    """Unsupported for a container whose processes cannot be kept, or made again."""
    reason = _why_not(config)
    if reason:
        raise Unsupported(op, config.name, reason)


def _why_not(config: ContainerConfig) -> str:
    if config.tty:
        return "checkpoints of containers with a terminal (tty) are not supported"
    if config.security.user_namespace == "auto":
        return "checkpoints of containers with ids of their own (userns_mode: auto) are not supported"
    if config.pid_mode:
        return "its processes are not in a pid namespace of their own"
    if config.ipc_mode not in _OWN_IPC:
        return "its shared memory is not its own (ipc)"
    return ""


def refuse_other(facts: Facts, config: ContainerConfig, name: str) -> None:
    """Conflict where the checkpoint is of a container that this one does not equal."""
    if facts.image != config.image:
        reason = (
            f"checkpoint {name} was made of image {facts.image[:19]}, the container has {config.image[:19]}"
        )
    elif facts.fingerprint != fingerprint(config):
        reason = f"checkpoint {name} was made of a container with another config (command, mounts, rights …)"
    else:
        return
    hint = "start it without --checkpoint, or make a container just like that one"
    raise Conflict("start", config.name, reason, hint)
