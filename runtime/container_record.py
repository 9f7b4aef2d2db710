"""A container's config as JSON, for its bundle: what differs from the defaults, and back.

    containers/<id>/container.json   {"config": {…}, "created_at": …}

The file is written last when a container is made: a bundle without it is half-made. Once its container has
run it is read-only (0400): a change of mode costs a thirtieth of another file, and after a loss of power
nothing else tells a container that ran from one that never did. Pure but for `read`, `write` and the mark.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from typing import Any

from runtime import disk
from runtime.model import (
    ContainerConfig,
    DeviceConfig,
    EndpointConfig,
    MountConfig,
    PortConfig,
    Resources,
    SandboxConfig,
    Security,
    Ulimit,
)

NAME = "container.json"
MAX_BYTES = 16 << 20
HAS_RUN = 0o400
SECRET = "secret_environment"
_encode = json.JSONEncoder(separators=(",", ":"), default=lambda value: to_json(value)).encode
_TYPES = (
    ContainerConfig, SandboxConfig, EndpointConfig, PortConfig, MountConfig, DeviceConfig, Security,
    Resources, Ulimit,
)  # fmt: skip


def _defaults(kind: Any) -> tuple[tuple[str, Any], ...]:
    found = []
    for each in fields(kind):
        if each.name == SECRET:
            continue
        default = each.default_factory() if each.default_factory is not MISSING else each.default
        found.append((each.name, default))
    return tuple(found)


_FIELDS = {kind: _defaults(kind) for kind in _TYPES}
_NAMES = {kind: frozenset(each.name for each in fields(kind)) for kind in _TYPES}


def to_json(value: Any) -> dict[str, Any]:
    """A value of `runtime.model` as a dictionary of what is not the default."""
    if isinstance(value, Mapping):
        return dict(value)
    found = {}
    for name, default in _FIELDS[type(value)]:
        current = getattr(value, name)
        if current != default:
            found[name] = current
    return found


def config_from_json(data: Mapping[str, Any]) -> ContainerConfig:
    """The inverse. TypeError, ValueError or KeyError for what no Setpoint wrote."""
    known = _known(ContainerConfig, data)
    return ContainerConfig(**{name: _convert(name, value) for name, value in known.items()})


def _known(kind: Any, data: Mapping[str, Any]) -> dict[str, Any]:
    """Without the fields that a later release has: what it left running goes on as it is, and is not ended
    for want of words."""
    names = _NAMES[kind]
    return {name: value for name, value in data.items() if name in names}


def resources_from_json(data: Mapping[str, Any]) -> Resources:
    known = _known(Resources, data)
    found: dict[str, Any] = {
        name: _pairs(value) if isinstance(value, list) else value for name, value in known.items()
    }
    return Resources(**found)


def _pairs(values: Any) -> tuple[tuple[Any, Any], ...]:
    return tuple((value[0], value[1]) for value in values)


def _one(kind: Callable[..., Any]) -> Callable[[Any], Any]:
    return lambda data: kind(**{name: _tuple(value) for name, value in _known(kind, data).items()})


def _many(kind: Callable[..., Any]) -> Callable[[Any], Any]:
    make = _one(kind)
    return lambda values: tuple(make(value) for value in values)


def _sandbox(data: Mapping[str, Any]) -> SandboxConfig:
    return SandboxConfig(
        mode=data["mode"],
        id=data.get("id", ""),
        endpoints=_many(EndpointConfig)(data.get("endpoints", ())),
        ports=_many(PortConfig)(data.get("ports", ())),
        links=_pairs(data.get("links", ())),
    )


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "sandbox": _sandbox,
    "mounts": _many(MountConfig),
    "devices": _many(DeviceConfig),
    "ulimits": _many(Ulimit),
    "security": _one(Security),
    "resources": resources_from_json,
    "extra_hosts": _pairs,
}


def _convert(name: str, value: Any) -> Any:
    converter = _CONVERTERS.get(name)
    return converter(value) if converter else _tuple(value)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def write(bundle: str, config: ContainerConfig, created_at: float, *, lasting: bool = False) -> None:
    """Into the bundle, whole or not at all. OSError.

    lasting: it takes the place of another, and a power cut must leave one of them. A new one need not last:
    it is made again, and a start waits for no disk.
    """
    data = _encode({"config": config, "created_at": created_at}).encode()
    temporary = f"{bundle}/.{NAME}.new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        disk.write_all(fd, data)
        if lasting:
            os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(temporary, f"{bundle}/{NAME}")  # noqa: PTH104


def read(bundle: str) -> tuple[ContainerConfig, float] | None:
    """(config, created_at), or None for a bundle that is half-made or damaged."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        fd = os.open(f"{bundle}/{NAME}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            data = json.loads(os.read(fd, MAX_BYTES))
        finally:
            os.close(fd)
        return config_from_json(data["config"]), float(data["created_at"])
    return None


def is_there(bundle: str) -> bool:
    """Whether the bundle has a record at all, if one that cannot be read. An empty one is none: a power cut
    leaves it of a bundle that was made in the last seconds (`write`)."""
    try:
        return os.stat(f"{bundle}/{NAME}", follow_symlinks=False).st_size > 0  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def mark_run(bundle: str) -> None:
    """The container runs, or ran. A bundle that is being removed, or a full disk, has no mark."""
    with contextlib.suppress(OSError):
        os.chmod(f"{bundle}/{NAME}", HAS_RUN)  # noqa: PTH101 (this is run for every start)


def has_run(bundle: str) -> bool:
    """Whether the container ever ran, as far as the mark tells."""
    try:
        return os.stat(f"{bundle}/{NAME}").st_mode & 0o777 == HAS_RUN  # noqa: PTH116
    except OSError:
        return False
