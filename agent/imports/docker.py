"""A Docker daemon's containers, networks and volumes as manifests. Pure: what it says comes in as a value.

    Dump ─> one project for each of compose's, the rest in one ─> objects, and notes of what was left out

A volume and a network belong to the project of compose's label, or to the only one that uses them; others
call them external.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.adoption.describe import capabilities
from agent.api.docker.container_body import Lookup, spec_of
from agent.imports.accept import accepted
from agent.imports.docker_container import COMPOSE, body_of, image_info, mounts_of
from agent.manifest.compose import NAME
from agent.manifest.files import PROJECT
from agent.manifest.network_options import BRIDGE_NAME, ICC, MASQUERADE, MTU
from agent.manifest.spec import (
    AnySpec,
    ContainerSpec,
    Ipv6,
    NetworkSpec,
    Restart,
    VolumeSpec,
)
from agent.reconcile import convert
from runtime.errors import SetpointError, Unsupported
from runtime.volume_options import read_source
from store.records import Key

Data = Mapping[str, Any]
DEFAULT_PROJECT = "imported"
BUILT_IN = ("bridge", "host", "none")
RUNNING = ("running", "paused", "restarting")


@dataclass(frozen=True, slots=True)
class Dump:
    """All as the daemon inspects it. images: id -> image; networks, volumes: name -> itself."""

    containers: tuple[Data, ...] = ()
    images: Mapping[str, Data] = field(default_factory=dict)
    networks: Mapping[str, Data] = field(default_factory=dict)
    volumes: Mapping[str, Data] = field(default_factory=dict)


@dataclass(slots=True)
class Import:
    """notes: project -> what its file says of what was left out. volumes: Docker's name -> our real name."""

    objects: dict[Key, AnySpec] = field(default_factory=dict)
    notes: dict[str, list[str]] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)
    images: set[str] = field(default_factory=set)

    def note(self, key: Key, text: str) -> None:
        self.notes.setdefault(key.project, []).append(f"{key.kind} {key.name}: {text}")

    def of(self, project: str) -> dict[Key, AnySpec]:
        return {key: spec for key, spec in self.objects.items() if key.project == project}


def import_docker(dump: Dump, names: Collection[str] = (), project: str = "") -> Import:
    """names: only these containers; () is all. project: the one of all that no compose project has."""
    found = Import()
    chosen = [each for each in dump.containers if not names or {_name(each), _id(each)[:12]} & set(names)]
    keys = _keys(chosen, project or DEFAULT_PROJECT)
    for container in chosen:
        _container(container, keys[_id(container)], dump, keys, found)
    return found


def _id(container: Data) -> str:
    return str(container.get("Id", ""))


def _name(container: Data) -> str:
    return str(container.get("Name", "")).removeprefix("/")


def _labels(item: Data) -> Data:
    return (item.get("Config") or item).get("Labels") or {}


def _project(item: Data, fallback: str) -> str:
    name = re.sub(r"[^a-z0-9_-]", "", str(_labels(item).get(f"{COMPOSE}project", "")).lower()).lstrip("_-")[
        :63
    ]
    return name if PROJECT.fullmatch(name) else fallback


def _keys(containers: Iterable[Data], fallback: str) -> dict[str, Key]:
    """Compose's service where it is free and the first of its kind, else the container's own name."""
    found: dict[str, Key] = {}
    for container in sorted(containers, key=_name):
        project, service = _project(container, fallback), str(_labels(container).get(f"{COMPOSE}service", ""))
        for name in (service, _name(container), f"c-{_id(container)[:12]}"):
            key = Key(project, "container", name)
            if NAME.fullmatch(name) and not name.startswith("x-") and key not in found.values():
                found[_id(container)] = key
                break
    return found


# --- one container ------------------------------------------------------------------------------------


def _container(container: Data, key: Key, dump: Dump, keys: Mapping[str, Key], found: Import) -> None:
    image = dump.images.get(str(container.get("Image", "")), {})
    lookup = _lookup(key, dump, keys, found)
    info = image_info(image)
    body = body_of(container, image.get("Config") or {})
    body["HostConfig"]["Mounts"] = [*mounts_of(container)]
    kept, left = accepted(body, lambda tried: spec_of("import", tried, info, lookup))
    spec = spec_of("import", kept, info, lookup)
    for text in left:
        found.note(key, f"left out: {text}")
    found.objects[key] = _as_asked(spec, container, kept, key, found)
    found.images.add(spec.asked.image if spec.asked else "")


def _as_asked(spec: ContainerSpec, container: Data, body: Data, key: Key, found: Import) -> ContainerSpec:
    """Without what the image says by itself, and with the image by its name."""
    fields = {name: getattr(spec, name) for name in spec.model_fields_set}
    for name in ("asked", "ensure"):
        fields.pop(name, None)
    said = {"entrypoint": body.get("Entrypoint"), "command": body.get("Cmd") or body.get("Entrypoint")}
    for name, value in said.items():
        if not value:
            fields.pop(name, None)
    published = {f"{port.target}/{port.protocol}" for port in spec.ports}
    if not (exposed := tuple(port for port in spec.expose if port not in published)):
        fields.pop("expose", None)
    else:
        fields["expose"] = exposed
    fields["image"] = str(body.get("Image", "")) or spec.image
    fields |= capabilities(spec)
    fields["restart"] = _restart(container)
    if _name(container) != convert.container_name(key, ContainerSpec(image="a"), 1):
        fields["container_name"] = _name(container)
    else:
        fields.pop("container_name", None)
    if (container.get("State") or {}).get("Status") not in RUNNING:
        fields["ensure"] = "stopped"
        found.note(key, "does not run: it is wanted stopped")
    if (container.get("HostConfig") or {}).get("AutoRemove"):
        found.note(key, "left out: --rm, a manifest's container stays when it has ended")
    return ContainerSpec(**fields)


def _restart(container: Data) -> Restart:
    policy = (container.get("HostConfig") or {}).get("RestartPolicy") or {}
    name, count = policy.get("Name") or "no", policy.get("MaximumRetryCount") or 0
    if name == "on-failure" and 0 < count < 10_000:
        return Restart(policy="on-failure", max_attempts=count)
    return Restart(policy=name if name in ("always", "on-failure", "unless-stopped") else "no")


def _lookup(key: Key, dump: Dump, keys: Mapping[str, Key], found: Import) -> Lookup:
    def refused(what: str) -> Any:
        raise Unsupported("import", what, "its content is in the daemon alone", "save it as a file")

    return Lookup(
        network=lambda name: _network(name, key, dump, found),
        container=lambda reference: _other(reference, dump),
        volume=lambda name, _options, _labels: _volume(name, key, dump, found),
        mounts=lambda reference: (),
        profile=lambda content: refused("a seccomp profile"),
    )


def _other(reference: str, dump: Dump) -> str:
    return next((_name(c) for c in dump.containers if reference in (_id(c), _name(c))), reference)


# --- networks and volumes -----------------------------------------------------------------------------


def _network(name: str, user: Key, dump: Dump, found: Import) -> str:
    data = dump.networks.get(name) or next((n for n in dump.networks.values() if n.get("Id") == name), {})
    name = str(data.get("Name", name))
    project = _project(data, user.project)
    local = str(_labels(data).get(f"{COMPOSE}network", "")) or name
    if project != user.project:
        key = Key(user.project, "network", name)
        found.objects.setdefault(key, NetworkSpec(external=True))
        return name
    key = Key(project, "network", local if NAME.fullmatch(local) else name)
    if key not in found.objects:
        found.objects[key] = _network_spec(data, key, dump, found)
    return key.name


def _network_spec(data: Data, key: Key, dump: Dump, found: Import) -> NetworkSpec:
    name = str(data.get("Name", key.name))
    if data.get("Driver") not in (None, "", "bridge"):
        found.note(key, f"driver {data.get('Driver')} is not to be had here: it is called external")
        return NetworkSpec(external=True) if name == key.name else NetworkSpec(external=True, name=name)
    fields: dict[str, Any] = {"internal": True} if data.get("Internal") else {}
    options = data.get("Options") or {}
    if str(options.get(MTU, "")).isdigit():
        fields["mtu"] = int(options[MTU])
    if options.get(ICC) == "false":
        fields["isolated"] = True
    if options.get(MASQUERADE) == "false":
        fields["routed"] = True
    if bridge := str(options.get(BRIDGE_NAME, "")):  # which is the daemon's still
        found.note(key, f"left out: the bridge's name {bridge}, until the daemon's network is gone")
    for other in sorted(set(options) - {MTU, ICC, BRIDGE_NAME, MASQUERADE}):
        found.note(key, f"left out: option {other}")
    if _has_static_address(name, dump, "IPv4Address"):
        fields |= _addresses(data, 4)
    if data.get("EnableIPv6"):
        fields["ipv6"] = Ipv6(
            **(_addresses(data, 6) if _has_static_address(name, dump, "IPv6Address") else {})
        )
    if labels := {k: v for k, v in _labels(data).items() if not k.startswith(COMPOSE)}:
        fields["labels"] = labels
    if name != convert.network_name(key, NetworkSpec()):
        fields["name"] = name
    return NetworkSpec(**fields)


def _addresses(data: Data, version: int) -> dict[str, Any]:
    """Of a network: the subnet of a family with what is said of it. It may say the prefix with a gateway."""
    configs = (data.get("IPAM") or {}).get("Config") or ()
    config: Data = next((each for each in configs if (":" in str(each.get("Subnet"))) == (version == 6)), {})
    found = {"subnet": config.get("Subnet"), "gateway": str(config.get("Gateway") or "").partition("/")[0]}
    found |= {"ip_range": config.get("IPRange"), "aux_addresses": config.get("AuxiliaryAddresses")}
    return {field: value for field, value in found.items() if value}


def _has_static_address(name: str, dump: Dump, kind: str) -> bool:
    """Then its subnet was chosen by somebody, and counts."""
    for container in dump.containers:
        said = ((container.get("NetworkSettings") or {}).get("Networks") or {}).get(name) or {}
        if (said.get("IPAMConfig") or {}).get(kind):
            return True
    return False


def _volume(name: str, user: Key, dump: Dump, found: Import) -> str:
    data = dump.volumes.get(name, {})
    project = _project(data, user.project)
    if project != user.project:
        key = Key(user.project, "volume", name)
        found.objects.setdefault(key, VolumeSpec(external=True))
        return name
    local = str(_labels(data).get(f"{COMPOSE}volume", "")) or name
    is_anonymous = re.fullmatch("[0-9a-f]{64}", name) is not None
    if is_anonymous:
        local = f"{user.name}-{name[:12]}"
    key = Key(project, "volume", local if NAME.fullmatch(local) else name)
    if key not in found.objects:
        found.objects[key] = _volume_spec(data, key, name, is_anonymous, found)
    spec = found.objects[key]
    assert isinstance(spec, VolumeSpec)
    if not spec.driver_opts:  # else its data is elsewhere, and is mounted from there
        found.volumes[name] = convert.volume_name(key, spec)
    return key.name


def _volume_spec(data: Data, key: Key, name: str, is_anonymous: bool, found: Import) -> VolumeSpec:
    fields: dict[str, Any] = {}
    if data.get("Driver") not in (None, "", "local"):
        found.note(key, f"driver {data.get('Driver')} is not to be had here: it is a local one")
    if options := data.get("Options") or {}:
        try:
            read_source(options)
            fields["driver_opts"] = dict(options)
        except SetpointError as error:
            found.note(key, f"left out: its options ({error.reason})")
    hidden = (COMPOSE, "com.docker.volume.anonymous")
    if labels := {k: v for k, v in _labels(data).items() if not k.startswith(hidden)}:
        fields["labels"] = labels
    if not is_anonymous and name != convert.volume_name(key, VolumeSpec()):
        fields["name"] = name
    return VolumeSpec(**fields)
