"""A container of the Docker API as objects of a project: what a manifest has to say of it. Pure.

    spec with ids and whole keys  ->  the service as it was asked for, and what it uses, external: true

What it uses stays whose it is. Its anonymous volumes get names, so that they are found again when the
container is replaced. Called by `agent.api.adopt`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.adoption.surroundings import Surroundings
from agent.manifest.compose import NAME
from agent.manifest.files import PROJECT
from agent.manifest.spec import AnySpec, Attachment, ContainerSpec, Mount, NetworkSpec, Restart, VolumeSpec
from agent.reconcile import convert
from agent.reconcile.api_objects import named_key
from runtime.model import ImageInfo
from store.records import Key

DEFAULT_PROJECT = "adopted"
MOST_ATTEMPTS = 10_000
COMPOSE_PROJECT = "com.docker.compose.project"
COMPOSE_SERVICE = "com.docker.compose.service"


@dataclass(slots=True)
class Description:
    """objects: the service and what it needs declared. notes: what is said otherwise than it was asked."""

    key: Key
    objects: dict[Key, AnySpec] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def project_of(spec: ContainerSpec) -> str:
    """The project that it belongs to by compose's label, or a common one."""
    name = re.sub(r"[^a-z0-9_-]", "", spec.labels.get(COMPOSE_PROJECT, "").lower()).lstrip("_-")[:63]
    return name if PROJECT.fullmatch(name) else DEFAULT_PROJECT


def service_of(spec: ContainerSpec, fallback: str, taken: frozenset[str]) -> str:
    """Its name in the project: compose's service where that is free, else its own."""
    for name in (spec.labels.get(COMPOSE_SERVICE, ""), spec.container_name):
        if NAME.fullmatch(name) and name not in taken:
            return name
    return fallback


def describe(former: Key, spec: ContainerSpec, key: Key, around: Surroundings) -> Description:
    """former: its key; key: what it is to be. Raises nothing: what cannot be said shows when read back."""
    found = Description(key)
    fields: dict[str, Any] = {name: getattr(spec, name) for name in spec.model_fields_set}
    fields.pop("asked", None)
    if fields.get("ensure") == "running":
        fields.pop("ensure")
    fields |= capabilities(spec)
    fields |= _image(spec, around, found)
    fields["restart"] = _restart(spec.restart, found)
    _without_the_images(fields, spec, around.image)
    _networks(fields, former, spec, around, found)
    _mounts(fields, former, spec, around, found)
    if spec.external_links:
        fields["external_links"] = tuple(
            (around.container_name(other), alias) for other, alias in spec.external_links
        )
    for name in ("network_mode", "pid", "ipc"):
        fields |= _mode(name, spec, around)
    if spec.asked is not None and spec.asked.auto_remove:
        found.notes.append("--rm is left out: a manifest's container stays when it has ended")
    found.objects[key] = ContainerSpec(**fields)
    return found


def capabilities(spec: ContainerSpec) -> dict[str, tuple[str, ...]]:
    """By the names that manifests have for them, where there are any."""
    found = {name: getattr(spec, name) for name in ("cap_add", "cap_drop") if getattr(spec, name)}
    return {name: tuple(each.removeprefix("CAP_") for each in said) for name, said in found.items()}


# --- the image and what is its own ----------------------------------------------------------------------


def _image(spec: ContainerSpec, around: Surroundings, found: Description) -> dict[str, Any]:
    """By the name that was asked for, as long as that means what the container is of."""
    name = spec.asked.image if spec.asked is not None else ""
    if name and around.image is not None and around.image.id == spec.image:
        return {"image": name}
    if name and name != spec.image:
        found.notes.append(
            f"image {name} is another one by now: the manifest names the one that runs by its id"
        )
    return {}


def _without_the_images(fields: dict[str, Any], spec: ContainerSpec, image: ImageInfo | None) -> None:
    """Command and entrypoint that nobody asked for, and ports that the image exposes."""
    request: Mapping[str, Any] = spec.asked.request if spec.asked is not None else {}
    if image is None or image.id != spec.image or not request:
        return
    if not request.get("Entrypoint") and spec.entrypoint == tuple(image.entrypoint):
        fields.pop("entrypoint", None)
        if not request.get("Cmd") and spec.command == tuple(image.command):
            fields.pop("command", None)
    exposed = {name if "/" in name else f"{name}/tcp" for name in image.exposed_ports}
    said = set(request.get("ExposedPorts") or ())
    kept = tuple(port for port in spec.expose if port not in exposed or port in said)
    fields.pop("expose", None)
    published = {f"{port.target}/{port.protocol}" for port in spec.ports}
    if kept := tuple(port for port in kept if port not in published):
        fields["expose"] = kept


def _restart(restart: Restart, found: Description) -> Restart:
    """By the policy's name, as people write it: with it come a manifest's limits."""
    if restart.policy == "no":
        return Restart()
    if restart.policy == "on-failure" and restart.max_attempts < MOST_ATTEMPTS:
        return Restart(policy="on-failure", max_attempts=restart.max_attempts)
    plain = Restart(policy=restart.policy)
    if restart != plain:
        found.notes.append(
            f"restart: {plain.policy} gives up after {plain.max_attempts} failures in "
            f"{plain.window_seconds / 60:g} minutes, and says so; the Docker API's goes on for ever"
        )
    return plain


# --- networks, volumes, other containers -------------------------------------------------------------------


def _networks(
    fields: dict[str, Any], former: Key, spec: ContainerSpec, around: Surroundings, found: Description
) -> None:
    if not spec.networks:
        return
    networks: dict[str, Attachment] = {}
    for name, attachment in spec.networks.items():
        real = around.network_name(named_key(former.project, "network", name))
        networks[_declared("network", real, NetworkSpec, around, found)] = attachment
    fields["networks"] = networks


def _declared(
    kind: str,
    real: str,
    spec: type[NetworkSpec] | type[VolumeSpec],
    around: Surroundings,
    found: Description,
    name: str = "",
) -> str:
    """What the project calls a network or volume: as it does already, or by a new declaration."""
    if known := around.known.get((kind, real)):
        return known
    name = name or real
    taken = {key.name for key in found.objects if key.kind == kind} | around.taken(kind)
    base, count = name, 2
    while name in taken and found.objects.get(Key(found.key.project, kind, name)) != _external(
        spec, name, real
    ):
        name, count = f"{base}-{count}", count + 1
    found.objects[Key(found.key.project, kind, name)] = _external(spec, name, real)
    return name


def _external(spec: type[NetworkSpec] | type[VolumeSpec], name: str, real: str) -> AnySpec:
    return spec(external=True) if name == real else spec(external=True, name=real)


def _mounts(
    fields: dict[str, Any], former: Key, spec: ContainerSpec, around: Surroundings, found: Description
) -> None:
    declared = around.made_of.volumes if around.made_of is not None else ()
    mounts: list[Mount] = []
    for mount in convert.mounts_of(spec, declared):
        if mount.type != "volume":
            mounts.append(mount)
            continue
        if mount.source:
            real = around.volume_name(named_key(former.project, "volume", mount.source))
            name = _declared("volume", real, VolumeSpec, around, found)
        else:
            real = convert.anonymous_volume_name(former, 1, mount.target)
            wanted = f"{found.key.name}-{_slug(mount.target)}"
            name = _declared("volume", real, VolumeSpec, around, found, wanted)
            found.notes.append(f"the anonymous volume at {mount.target} is called {name}: its data stays")
        mounts.append(mount.model_copy(update={"source": name}))
    if mounts:
        fields["mounts"] = tuple(mounts)


def _slug(path: str) -> str:
    return re.sub(r"[^a-zA-Z0-9_.-]+", "-", path).strip("-._") or "data"


def _mode(name: str, spec: ContainerSpec, around: Surroundings) -> dict[str, str]:
    """container:<key> by the name that the other has; what every container has anyway is not said."""
    kind, _, other = getattr(spec, name).partition(":")
    if name == "ipc" and kind in ("private", "shareable"):
        return {name: ""}
    if kind != "container":
        return {}
    return {name: f"container:{around.container_name(other)}"}
