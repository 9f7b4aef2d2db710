"""A bundle directory: `config.json` (OCI) and `container.json` (the ContainerConfig, whole).

Called by `engine`. A bundle appears by one rename, complete or not at all; `container.json` is what a
lost database is rebuilt from. Knows nothing of layers or volumes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from runtime.errors import Conflict, NotFound
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

OCI_FILE = "config.json"
CONTAINER_FILE = "container.json"
# Where a field holds another value (or a tuple of them), by class and field.
_INNER: dict[tuple[type, str], type] = {
    (ContainerConfig, "sandbox"): SandboxConfig,
    (ContainerConfig, "mounts"): MountConfig,
    (ContainerConfig, "devices"): DeviceConfig,
    (ContainerConfig, "security"): Security,
    (ContainerConfig, "resources"): Resources,
    (ContainerConfig, "ulimits"): Ulimit,
    (SandboxConfig, "endpoints"): EndpointConfig,
    (SandboxConfig, "ports"): PortConfig,
}


class Bundle(NamedTuple):
    config: ContainerConfig
    oci: Mapping[str, Any]


def config_to_json(config: ContainerConfig) -> str:
    """The whole config as JSON; equal configs give equal text."""
    return json.dumps(_plain(config), separators=(",", ":"), sort_keys=True)


def config_from_json(text: str) -> ContainerConfig:
    """The inverse of `config_to_json`. ValueError for other text; unknown fields are passed over, so
    that an older version reads what a newer one wrote."""
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("not a container's config")
    try:
        made = _build(ContainerConfig, found)
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a container's config: {error}") from error
    assert isinstance(made, ContainerConfig)
    return made


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


def _build(kind: type, found: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(kind)}
    arguments: dict[str, Any] = {}
    for name, value in found.items():
        if name not in known:
            continue
        inner = _INNER.get((kind, name))
        if inner is None:
            arguments[name] = _frozen(value)
        elif isinstance(value, list):
            arguments[name] = tuple(_build(inner, each) for each in value)
        else:
            arguments[name] = _build(inner, value)
    return kind(**arguments)


def _frozen(value: Any) -> Any:
    return tuple(_frozen(each) for each in value) if isinstance(value, list) else value


def write(directory: Path, config: ContainerConfig, oci: Mapping[str, Any]) -> None:
    """Make a bundle at a directory that is not there yet (`Conflict` if it is)."""
    temporary = directory.with_name(f".{directory.name}.new")
    if temporary.exists():
        shutil.rmtree(temporary)
    temporary.mkdir(mode=0o700, parents=True)
    (temporary / OCI_FILE).write_text(json.dumps(oci, separators=(",", ":")))
    (temporary / CONTAINER_FILE).write_text(config_to_json(config))
    try:
        temporary.rename(directory)
    except OSError as error:
        shutil.rmtree(temporary)
        raise Conflict("create", directory.name, "its bundle is there already", "delete it first") from error


def replace(directory: Path, config: ContainerConfig, oci: Mapping[str, Any]) -> None:
    """Change a bundle's files in place, each by one rename."""
    for name, text in (
        (OCI_FILE, json.dumps(oci, separators=(",", ":"))),
        (CONTAINER_FILE, config_to_json(config)),
    ):
        temporary = directory / f".{name}.{os.getpid()}"
        temporary.write_text(text)
        temporary.rename(directory / name)


def read(directory: Path) -> Bundle:
    """A bundle. `NotFound` when it is not there or not whole."""
    try:
        config = config_from_json((directory / CONTAINER_FILE).read_text())
        oci = json.loads((directory / OCI_FILE).read_text())
    except (OSError, ValueError) as error:
        raise NotFound("read bundle", str(directory), str(error), "create the container again") from error
    return Bundle(config, oci)
