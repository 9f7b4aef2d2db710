"""What `docker inspect` says of a container, as the body of a create call: what somebody asked for. Pure.

An inspection holds what was asked for, what the image says, and what the daemon adds. The image's part and
the daemon's are taken away; the rest is what `docker run` was given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.model import ImageInfo

Data = Mapping[str, Any]
DEFAULT_SHM_BYTES = 64 << 20
DEFAULTS: dict[str, Any] = {"Runtime": "runc", "IpcMode": "private", "CgroupnsMode": "private"}
"""What the daemon writes where nothing was said (and, on cgroup v1, the host's cgroup namespace)."""
_NO_PART = """
MaskedPaths ReadonlyPaths Binds Mounts VolumesFrom AutoRemove ContainerIDFile ConsoleSize RestartPolicy
"""
NO_PART = frozenset(_NO_PART.split())
"""Taken care of elsewhere, or of no meaning for a manifest."""
DOCKERS_MASKED = frozenset(("/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/sched_debug", "/sys/firmware"))
DOCKERS_READ_ONLY = frozenset(("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"))
"""In the daemon's lists, in each of its versions."""
COMPOSE = "com.docker.compose."
_PLAIN = ("WorkingDir", "User", "StopSignal")


def body_of(container: Data, image: Data) -> dict[str, Any]:
    """image: its own config, {} when it is gone."""
    config, host = dict(container.get("Config") or {}), dict(container.get("HostConfig") or {})
    body: dict[str, Any] = {"Image": config.get("Image", "")}
    body |= _process(config, image, str(container.get("Id", "")))
    body["HostConfig"] = _host(host)
    if mode := _endpoints(container, host):
        body["NetworkingConfig"] = {"EndpointsConfig": mode}
    return body


def _process(config: Data, image: Data, id: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in ("Cmd", "Entrypoint", "Healthcheck", *_PLAIN):
        if config.get(name) and config[name] != image.get(name):
            found[name] = config[name]
    known = set(image.get("Env") or ())
    found["Env"] = [entry for entry in config.get("Env") or () if entry not in known]
    found["Labels"] = {
        name: value
        for name, value in (config.get("Labels") or {}).items()
        if (image.get("Labels") or {}).get(name) != value and not name.startswith(COMPOSE)
    }
    exposed = image.get("ExposedPorts") or {}
    found["ExposedPorts"] = {port: {} for port in config.get("ExposedPorts") or {} if port not in exposed}
    for name in ("Tty", "OpenStdin", "StopTimeout", "Domainname"):
        if config.get(name):
            found[name] = config[name]
    if config.get("Hostname") and config["Hostname"] != id[:12]:
        found["Hostname"] = config["Hostname"]
    return {name: value for name, value in found.items() if value}


def _host(host: Data) -> dict[str, Any]:
    """Without what is empty, or the daemon's."""
    found = {name: value for name, value in host.items() if value and name not in NO_PART}
    if host.get("MemorySwappiness") is not None:  # 0 says something
        found["MemorySwappiness"] = host["MemorySwappiness"]
    for name, value in DEFAULTS.items():
        is_said = name == "CgroupnsMode" and host.get("Privileged")  # whose default is the host's
        if found.get(name) == value and not is_said:
            del found[name]
    if found.get("CgroupnsMode") == "host":  # Docker's default on cgroup v1; elsewhere nobody asks for it
        del found["CgroupnsMode"]
    if found.get("ShmSize") == DEFAULT_SHM_BYTES:
        del found["ShmSize"]
    if found.get("MemorySwap") == 2 * found.get("Memory", 0):  # Docker's own rule, and ours
        found.pop("MemorySwap", None)
    found |= _paths(host)
    if found.get("LogConfig") == {"Type": "json-file", "Config": {}}:
        del found["LogConfig"]
    return found


def _paths(host: Data) -> dict[str, list[str]]:
    """Of the kernel's files those that are hidden, or read-only, where somebody said which. The daemon's own
    lists grow from version to version; a privileged container has none."""
    found = {}
    for name, usual in (("MaskedPaths", DOCKERS_MASKED), ("ReadonlyPaths", DOCKERS_READ_ONLY)):
        said = host.get(name)
        if said is not None and not usual <= set(said) and not host.get("Privileged"):
            found[name] = list(said)
    return found


def _endpoints(container: Data, host: Data) -> dict[str, Any]:
    """How it was asked to be on its networks: no addresses that the daemon chose."""
    mode = str(host.get("NetworkMode", ""))
    if mode in ("", "none", "host", "default", "bridge") or mode.startswith("container:"):
        return {}
    own = {str(container.get("Id", ""))[:12], str(container.get("Name", "")).removeprefix("/")}
    own.add(str(((container.get("Config") or {}).get("Labels") or {}).get(f"{COMPOSE}service", "")))
    found: dict[str, Any] = {}
    for name, said in ((container.get("NetworkSettings") or {}).get("Networks") or {}).items():
        endpoint: dict[str, Any] = {}
        if aliases := [alias for alias in said.get("Aliases") or () if alias not in own]:
            endpoint["Aliases"] = aliases
        asked = said.get("IPAMConfig") or {}
        if kept := {kind: asked[kind] for kind in ("IPv4Address", "IPv6Address") if asked.get(kind)}:
            endpoint["IPAMConfig"] = kept
        for name_of_said in ("Links", "DriverOpts"):
            if said.get(name_of_said):
                endpoint[name_of_said] = said[name_of_said]
        found[name] = endpoint
    return found


def mounts_of(container: Data) -> tuple[dict[str, Any], ...]:
    """Binds and volumes in the form of HostConfig.Mounts, from what is mounted: those of other containers and
    the anonymous ones too. Options are those that were asked for."""
    asked = {str(m.get("Target")): m for m in (container.get("HostConfig") or {}).get("Mounts") or ()}
    found: list[dict[str, Any]] = []
    for mount in container.get("Mounts") or ():
        kind, target = mount.get("Type"), str(mount.get("Destination", ""))
        if kind not in ("bind", "volume"):
            continue
        one: dict[str, Any] = {"Type": kind, "Target": target, "ReadOnly": not mount.get("RW", True)}
        one["Source"] = mount.get("Name") if kind == "volume" else mount.get("Source")
        options = "BindOptions" if kind == "bind" else "VolumeOptions"
        if said := {
            k: v for k, v in (asked.get(target, {}).get(options) or {}).items() if k != "Labels" and v
        }:
            one[options] = said
        if "nocopy" in str(mount.get("Mode", "")).split(","):
            one[options] = {**one.get(options, {}), "NoCopy": True}
        if kind == "bind":
            one.setdefault("BindOptions", {})["CreateMountpoint"] = target not in asked
            if mount.get("Propagation") not in (None, "", "rprivate"):
                one["BindOptions"]["Propagation"] = mount["Propagation"]
        found.append(one)
    tmpfs = [mount for mount in asked.values() if mount.get("Type") not in ("bind", "volume")]
    return (*sorted(found, key=lambda mount: str(mount["Target"])), *tmpfs)


def image_info(inspected: Data) -> ImageInfo:
    """As much as a create call asks of an image."""
    config = inspected.get("Config") or {}
    return ImageInfo(
        id=str(inspected.get("Id", "")) or "unknown", names=(), size_bytes=0, created_at=0.0,
        architecture="", os="linux", entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()) or ("sh",), environment=tuple(config.get("Env") or ()),
        exposed_ports=(),
    )  # fmt: skip
