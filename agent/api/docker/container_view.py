"""Containers as Docker shows them: a summary in lists, and all of one. Pure.

`look` gathers what both need of one container; the rest is conversion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.api.docker import config_view, endpoint_view
from agent.api.docker.stamps import NEVER, rfc3339
from agent.manifest.spec import ContainerSpec
from agent.reconcile import convert
from agent.reconcile.policy import Health
from runtime.container_places import Places
from runtime.model import ContainerState, ImageInfo, NetworkState, PortConfig
from runtime.network.ports import by_family
from store.records import Key, ObjectRecord

OWN_LABELS = "setpoint."
START_CODES = {  # why a program could not be started -> what a shell says of that
    "cannot access path": 128,  # of a mount: no program was looked for
    "executable file not found": 127, "no such file or directory": 127, "permission denied": 126,
    "is a directory": 126,
}  # fmt: skip
PROJECT, SERVICE = "com.docker.compose.project", "com.docker.compose.service"
NUMBER, ONE_OFF = "com.docker.compose.container-number", "com.docker.compose.oneoff"


@dataclass(frozen=True, slots=True)
class Seen:
    """One container, with all that is known of it. spec None: nothing wants it any more, or never did.
    networks: by their real names. phase: the object's, of the loop."""

    state: ContainerState
    key: Key | None = None
    record: ObjectRecord | None = None
    spec: ContainerSpec | None = None
    image: ImageInfo | None = None
    networks: Mapping[str, NetworkState] = field(default_factory=dict)
    volume_names: Mapping[str, str] = field(default_factory=dict)  # what its spec calls them -> real ones
    instance: str = ""
    phase: str = ""
    restarts: int = 0
    health: Health | None = None
    error: str = ""

    @property
    def status(self) -> str:
        """Docker's word for how it stands."""
        if self.record is not None and self.record.deleting and self.state.phase != "running":
            return "removing"
        if self.state.phase == "stopped":
            return "restarting" if self.phase == "Restarting" else "exited"
        return self.state.phase

    @property
    def reference(self) -> str:
        """Its image, as it was named."""
        if self.spec is None:
            return self.state.image
        return self.spec.asked.image if self.spec.asked else self.spec.image

    @property
    def may_have_volumes(self) -> bool:
        return bool((self.spec and self.spec.mounts) or (self.image and self.image.volumes))

    def labels(self) -> dict[str, str]:
        """Its own and its image's; of what a manifest made, compose's too, by which clients group. Those of
        the engine itself are left out: who makes a container of what he sees here must be able to."""
        labels = {**(self.image.labels if self.image else {}), **self.state.labels}
        labels = {name: value for name, value in labels.items() if not name.startswith(OWN_LABELS)}
        if self.record is None or self.record.owner == "api" or self.key is None:
            return labels
        index = self.state.labels.get(convert.LABEL_INDEX, "1")
        return {PROJECT: self.key.project, SERVICE: self.key.name, NUMBER: index, ONE_OFF: "False", **labels}


# --- parts of both ------------------------------------------------------------------------------------


def age(seconds: float) -> str:
    """How long, as the daemon says it (units.HumanDuration)."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    for size, unit, limit in (
        (24, "days", 24 * 7 * 2),
        (24 * 7, "weeks", 24 * 30 * 2),
        (24 * 30, "months", 24 * 365 * 2),
    ):
        if hours < limit:
            return f"{hours // size} {unit}"
    return f"{hours // (24 * 365)} years"


def status_text(seen: Seen, now: float) -> str:
    """ "Up 3 minutes (healthy)", "Exited (0) 2 hours ago"."""
    state, status = seen.state, seen.status
    if status == "created":
        return "Created"
    if status == "removing":
        return "Removal In Progress"
    if status in ("running", "paused"):
        text = f"Up {age(now - (state.started_at or now))}"
        if status == "paused":
            return f"{text} (Paused)"
        return f"{text} ({_health_text(seen.health.status)})" if seen.health else text
    ended = age(max(0.0, now - (state.finished_at or now)))
    word = "Restarting" if status == "restarting" else "Exited"
    return f"{word} ({state.exit_code if state.exit_code is not None else 137}) {ended} ago"


def _health_text(status: str) -> str:
    return "health: starting" if status == "starting" else status


def _ports(seen: Seen) -> tuple[PortConfig, ...]:
    """As they are bound: what is published on every address is two, where there is IPv6 with a way out."""
    networks = (seen.networks.get(name) for name in seen.state.addresses6)
    has_ipv6 = any(network is not None and not network.internal for network in networks)
    return tuple(each for port in seen.state.ports for each in by_family(port, has_ipv6))


def ports_summary(ports: tuple[PortConfig, ...], exposed: tuple[str, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"IP": p.host_ip or "0.0.0.0", "PrivatePort": p.container_port, "PublicPort": p.host_port,
         "Type": p.protocol}
        for p in ports
    ]  # fmt: skip
    published = {f"{p.container_port}/{p.protocol}" for p in ports}
    for name in exposed:
        number, _, protocol = name.partition("/")
        if number.isdigit() and f"{number}/{protocol or 'tcp'}" not in published:
            found.append({"PrivatePort": int(number), "Type": protocol or "tcp"})
    return found


def ports_view(ports: tuple[PortConfig, ...], exposed: tuple[str, ...]) -> dict[str, Any]:
    """NetworkSettings.Ports: null for a port that is exposed and not published."""
    found: dict[str, Any] = {name if "/" in name else f"{name}/tcp": None for name in exposed}
    for port in ports:
        name = f"{port.container_port}/{port.protocol}"
        binding = {"HostIp": port.host_ip or "0.0.0.0", "HostPort": str(port.host_port)}
        found[name] = [*(found.get(name) or []), binding]
    return found


def endpoints(seen: Seen) -> dict[str, dict[str, Any]]:
    """NetworkSettings.Networks, by the networks' names."""
    return endpoint_view.endpoints(seen.instance, seen.state, seen.spec, seen.networks)


def mounts_view(seen: Seen, volume_path: Mapping[str, str]) -> list[dict[str, Any]]:
    """MountPoints; a tmpfs is one where Mounts said it, as in Docker. volume_path: where each volume lies on
    the host."""
    if seen.spec is None or seen.key is None:
        return []
    said = config_view.asked_targets(seen.spec)
    found: list[dict[str, Any]] = []
    index = int(seen.state.labels.get(convert.LABEL_INDEX, "1") or 1)
    for mount in convert.mounts_of(seen.spec, seen.image.volumes if seen.image else ()):
        if mount.type == "tmpfs" and mount.target not in said:
            continue
        point: dict[str, Any] = {
            "Type": mount.type, "Source": mount.source, "Destination": mount.target,
            "Mode": "ro" if mount.read_only else "", "RW": not mount.read_only, "Propagation": "",
        }  # fmt: skip
        if mount.type == "volume":
            name = (
                seen.volume_names.get(mount.source, mount.source)
                if mount.source
                else (convert.anonymous_volume_name(seen.key, index, mount.target))
            )
            point |= {"Name": name, "Source": volume_path.get(name, ""), "Driver": "local"}
        elif mount.type == "bind":
            point["Propagation"] = mount.propagation
        found.append(point)
    return found


def _by_real_names(seen: Seen, spec: ContainerSpec) -> ContainerSpec:
    """What a manifest calls its volumes is said by what they are called on this host."""
    if not seen.volume_names or spec.asked is not None:
        return spec
    mounts = [
        mount.model_copy(update={"source": seen.volume_names.get(mount.source, mount.source)})
        if mount.type == "volume"
        else mount
        for mount in spec.mounts
    ]
    return spec.model_copy(update={"mounts": tuple(mounts)})


# --- the two shapes -----------------------------------------------------------------------------------


def summary(seen: Seen, now: float, volume_path: Mapping[str, str]) -> dict[str, Any]:
    """An entry of a list."""
    state, spec, image = seen.state, seen.spec, seen.image
    words = config_view.command_of(spec, image) if spec is not None else ()
    exposed = config_view.exposed_of(spec, image) if spec is not None else ()
    is_live = state.phase in ("running", "paused")
    found: dict[str, Any] = {
        "Id": state.id,
        "Names": [f"/{state.name}"],
        "Image": seen.reference,
        "ImageID": state.image,
        "Command": " ".join(_quoted(word) for word in words),
        "Created": int(state.created_at),
        "Ports": ports_summary(_ports(seen), exposed) if is_live else [],
        "Labels": seen.labels(),
        "State": seen.status,
        "Status": status_text(seen, now),
        "HostConfig": {"NetworkMode": config_view.network_mode_of(spec) if spec is not None else ""},
        "NetworkSettings": {"Networks": endpoints(seen)},
        "Mounts": mounts_view(seen, volume_path),
    }
    if seen.health is not None and state.phase == "running":
        found["Health"] = {"Status": seen.health.status, "FailingStreak": seen.health.failures}
    return found


def _quoted(word: str) -> str:
    return f"'{word}'" if " " in word else word


def inspect(seen: Seen, volume_path: Mapping[str, str], places: Places) -> dict[str, Any]:
    """All of one container. Its log has no path: who reads one expects Docker's JSON there, and dockerd says
    none either of a driver that writes something else."""
    state, spec = seen.state, seen.spec or ContainerSpec(image=seen.state.image)
    config = config_view.config_of(spec, seen.image, state.id, seen.reference)
    words = [*(config["Entrypoint"] or ()), *(config["Cmd"] or ())]
    host = config_view.host_config_of(_by_real_names(seen, spec))
    ports = _ports(seen) if state.phase in ("running", "paused") else ()
    networks = endpoints(seen)
    return {
        "Id": state.id,
        "Created": rfc3339(state.created_at),
        "Path": words[0] if words else "",
        "Args": words[1:],
        "State": state_view(seen),
        "Image": state.image,
        "ResolvConfPath": places.resolv,
        "HostnamePath": places.hostname,
        "HostsPath": places.hosts,
        "LogPath": "",
        "Name": f"/{state.name}",
        "RestartCount": seen.restarts,
        "Driver": "overlay2",
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": spec.apparmor or (places.apparmor if state.started_at else ""),
        "ExecIDs": None,
        "HostConfig": host,
        "GraphDriver": {"Name": "overlay2", "Data": _layers(places)},
        "Mounts": mounts_view(seen, volume_path),
        "Config": {**config, "Labels": seen.labels()},
        "NetworkSettings": {
            "SandboxID": state.sandbox if state.started_at else "",
            "SandboxKey": places.netns,
            "Ports": ports_view(ports, tuple(config.get("ExposedPorts", ())))
            if ports or state.phase == "running"
            else {},
            "Networks": networks,
            **endpoint_view.of_default_network(networks),
        },
    }


def _layers(places: Places) -> dict[str, str]:
    """No MergedDir: the whole is mounted where the container is, and nowhere on the host."""
    lower = {"LowerDir": ":".join(places.lower)} if places.lower else {}
    return {**lower, "UpperDir": places.upper, "WorkDir": places.work}


def _exit_code(seen: Seen, failed: str) -> int:
    """failed: why it could not be started; then it is the code that a shell would have."""
    state = seen.state
    if failed:
        return next((code for words, code in START_CODES.items() if words in failed), 128)
    if state.phase != "stopped":
        return 0
    return 137 if state.exit_code is None else state.exit_code


def state_view(seen: Seen) -> dict[str, Any]:
    state, status = seen.state, seen.status
    is_live = state.phase in ("running", "paused")
    failed = seen.spec.asked.start_error if not is_live and seen.spec and seen.spec.asked else ""
    found: dict[str, Any] = {
        "Status": status,
        "Running": status in ("running", "paused", "restarting"),
        "Paused": status == "paused",
        "Restarting": status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": False,
        "Pid": state.pid or 0,
        "ExitCode": _exit_code(seen, failed),
        "Error": seen.error or failed,
        "StartedAt": rfc3339(state.started_at),
        "FinishedAt": rfc3339(state.finished_at) if state.finished_at else NEVER,
    }
    if seen.health is not None:
        found["Health"] = {
            "Status": seen.health.status,
            "FailingStreak": seen.health.failures,
            "Log": [
                {"Start": rfc3339(seen.health.last_at), "End": rfc3339(seen.health.last_at),
                 "ExitCode": int(seen.health.failures > 0), "Output": seen.health.output}
            ] if seen.health.last_at else [],
        }  # fmt: skip
    return found
