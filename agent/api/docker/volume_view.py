"""Volumes as Docker shows them, and what a create call asks for. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from agent.api.docker.bodies import text_map_of, text_of
from agent.api.docker.filters import Filters, fits_labels, flag_of
from agent.api.docker.name_patterns import fits_pattern
from agent.api.docker.stamps import rfc3339
from agent.manifest.spec import VolumeSpec
from runtime.errors import Conflict, Invalid, NotFound, SetpointError, Temporary
from runtime.model import VolumeState
from runtime.volume_options import read_source

ANONYMOUS = "com.docker.volume.anonymous"
FILTERS = frozenset(("dangling", "driver", "label", "name"))
PRUNE_FILTERS = frozenset(("all", "label", "label!"))
MAX_LABEL_BYTES = 128 * 1024
_KNOWN = frozenset(("Name", "Driver", "DriverOpts", "Labels", "ClusterVolumeSpec"))
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+")
_GENERATED = re.compile(r"[0-9a-f]{64}")


def volume(state: VolumeState) -> dict[str, Any]:
    """One of them."""
    return {
        "CreatedAt": rfc3339(int(state.created_at)),
        "Driver": "local",
        "Labels": labels_of(state),
        "Mountpoint": state.path,
        "Name": state.name,
        "Options": dict(state.options),
        "Scope": "local",
    }


def labels_of(state: VolumeState) -> dict[str, str]:
    """Without the engine's own. What a container made for itself has none, and Docker's for such ones."""
    if not state.labels and _GENERATED.fullmatch(state.name):
        return {ANONYMOUS: ""}
    return {name: value for name, value in state.labels.items() if not name.startswith("setpoint.")}


def is_anonymous(state: VolumeState) -> bool:
    return ANONYMOUS in labels_of(state)


def fits(state: VolumeState, filters: Filters, *, is_used: bool) -> bool:
    """Whether a volume is what the filters ask for. is_used: a container has it."""
    if filters.get("driver") and "local" not in filters["driver"]:
        return False
    if filters.get("name") and not any(fits_pattern(state.name, wanted) for wanted in filters["name"]):
        return False
    dangling = flag_of(filters, "dangling")
    if dangling is not None and dangling == is_used:
        return False
    labels = labels_of(state)
    if any(fits_labels(labels, (text,)) for text in filters.get("label!", ())):
        return False
    return fits_labels(labels, filters.get("label", ()))


# --- asked for --------------------------------------------------------------------------------------


def spec_of(body: Mapping[str, Any], generated: str) -> VolumeSpec:
    """The volume that is asked for. generated: its name where none is said. Raises Invalid, NotFound,
    Unsupported, Temporary."""
    for field, value in body.items():
        if field not in _KNOWN and value:
            raise Invalid("read request", field[:40], "not a field of a volume")
    if body.get("ClusterVolumeSpec"):
        raise Temporary("", "", "cluster volumes need a swarm, and this node is in none")
    name, driver = text_of(body, "Name"), text_of(body, "Driver")
    if driver not in ("", "local"):
        shown = driver[:60]
        raise NotFound(
            "", "", f'create {name[:60]}: error looking up volume plugin {shown}: plugin "{shown}" not found'
        )
    said: dict[str, Any] = options_of(name, text_map_of(body, "DriverOpts"))
    labels = text_map_of(body, "Labels")
    said |= labels_said(labels)
    if not name:
        return VolumeSpec(name=generated, **{**said, "labels": {**labels, ANONYMOUS: ""}})
    _check_name(name)
    return VolumeSpec(name=name, **said)


def options_of(name: str, options: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The spec's field for them, {} where none are said. Invalid, Unsupported."""
    try:
        read_source(options)
    except SetpointError as error:
        raise type(error)("", "", f"create {name[:60]}: {error.reason}", error.hint) from None
    return {"driver_opts": dict(options)} if options else {}


def check_options(state: VolumeState, options: Mapping[str, str]) -> None:
    """Of a volume that is there, and is asked for with options. None asks for it as it is."""
    if options and dict(options) != dict(state.options):
        raise Conflict(
            "", "", f"create {state.name}: a volume of that name has other options", "another name"
        )


def labels_said(labels: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """The spec's field for them, {} where none are said. Invalid."""
    if sum(len(key) + len(value) for key, value in labels.items()) > MAX_LABEL_BYTES:
        raise Invalid("read request", "Labels", f"over {MAX_LABEL_BYTES} bytes")
    if bad := next((key for key in labels if key.startswith("setpoint.")), ""):
        raise Invalid("", "", f"label {bad[:60]}: setpoint.* is this engine's own (hint: another prefix)")
    return {"labels": dict(labels)} if labels else {}


def _check_name(name: str) -> None:
    if len(name) < 2:
        reason = "volume name is too short, names should be at least two alphanumeric characters"
        raise Invalid("", "", f"create {name}: {reason}")
    if not _NAME.fullmatch(name):
        raise Invalid(
            "", "", f'create {name[:60]}: "{name[:60]}" includes invalid characters for a local volume name, '
            'only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use '
            "absolute path",
        )  # fmt: skip
    if len(name) > 255:
        raise Invalid("", "", f"create {name[:60]}…: a volume's name has 255 characters at most")
