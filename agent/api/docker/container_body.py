"""The body of a create call to a spec. Pure.

Every field is honoured or refused; those that mean nothing on Linux are let be, as Docker does. What names
other objects is looked up through `Lookup`, which raises NotFound.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.api.docker import body_limits, body_mounts, body_networks
from agent.api.docker.bodies import (
    flag_of,
    list_of,
    map_of,
    text_map_of,
    text_of,
    texts_of,
    whole_of,
)
from agent.api.docker.terminal_size import read_console_size
from agent.manifest.log_tags import check_tag
from agent.manifest.parse_run import SIGNAL_NAMES
from agent.manifest.reading import Refuse
from agent.manifest.spec import Asked, ContainerSpec, Healthcheck, Logging, Mount
from runtime.errors import Invalid, NotFound, Unsupported
from runtime.model import ImageInfo
from runtime.security import check_system_path, normal_capability

_FIELDS = """
Hostname Domainname User AttachStdin AttachStdout AttachStderr ExposedPorts Tty OpenStdin StdinOnce Env Cmd
Healthcheck ArgsEscaped Image Volumes WorkingDir Entrypoint NetworkDisabled MacAddress OnBuild Labels
StopSignal StopTimeout Shell HostConfig NetworkingConfig Platform
"""
_KNOWN = frozenset(_FIELDS.split())
_SIZE = re.compile(r"([0-9]{1,15})([kmg]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "k": 1024, "m": 1024**2, "g": 1024**3}
_LOG_WORDS = ("tag", "labels", "env")
_OTHER_LOG_OPTIONS = {
    **dict.fromkeys(("labels-regex", "env-regex"), ("patterns are not to be had here", "labels or env")),
    "max-buffer-size": ("nothing is buffered here, and nothing is lost", "leave it out"),
}
_AS_IT_IS = {"compress": ("true", "false"), "mode": ("blocking", "")}
RUNTIMES = ("", "setpoint", "runc", "io.containerd.runc.v2")
MAX_LABEL_BYTES = 128 * 1024
FOREVER_SECONDS = 10.0**9  # of a stop that waits as long as it takes


@dataclass(frozen=True, slots=True)
class Lookup:
    """network, container, volume: what clients call it -> what the spec calls it. mounts: another
    container's. profile: the content of a seccomp profile -> the file that it is kept in. host_name: of the
    host, which a container on the host's network has too. processors: of the host, 0 for any number.
    host_binding: a network as the spec calls it -> the host's address that it publishes ports on, "" for
    all."""

    network: Callable[[str], str]
    container: Callable[[str], str]
    volume: body_mounts.Volume
    mounts: Callable[[str], tuple[Mount, ...]]
    profile: Callable[[str], str]
    host_name: Callable[[], str] = lambda: os.uname().nodename
    processors: Callable[[], int] = lambda: 0
    host_binding: Callable[[str], str] = lambda _network: ""


def spec_of(name: str, body: Mapping[str, Any], image: ImageInfo, lookup: Lookup) -> ContainerSpec:
    """The container that is asked for, created and not started. Raises Invalid and Unsupported."""
    try:
        return _spec_of(name, body, image, lookup)
    except Refuse as error:
        raise Invalid("", "", error.message, error.hint) from None
    except NotFound as error:  # a 404 to a create means that the image is missing: clients pull it then
        raise Invalid("", "", error.reason, error.hint) from None


def _spec_of(name: str, body: Mapping[str, Any], image: ImageInfo, lookup: Lookup) -> ContainerSpec:
    host, networking = map_of(body, "HostConfig"), map_of(body, "NetworkingConfig")
    _refuse_unknown(body, host)
    fields: dict[str, Any] = {
        **_process(body, image),
        **_isolation(host, lookup),
        **body_limits.limits_of(host, lookup.processors() if body_limits.names_processors(host) else 0),
        **body_networks.network_of(body, host, networking, lookup.network, lookup.container),
        **body_networks.dns_of(host),
        **_optional("expose", _exposed(body, host, image)),
        **_optional("extra_hosts", body_networks.extra_hosts_of(host)),
        **_optional("mounts", body_mounts.mounts_of(body, host, lookup.volume, lookup.mounts)),
        **_optional("external_links", body_networks.links_of(host, networking, lookup.container)),
        **_optional("devices", body_mounts.devices_of(host)),
        **_optional("device_cgroup_rules", body_mounts.device_rules_of(host)),
        **_optional("ulimits", body_limits.ulimits_of(host)),
        **_optional("healthcheck", _healthcheck(map_of(body, "Healthcheck"))),
        **_optional("logging", _logging(map_of(host, "LogConfig"))),
    }
    address = lookup.host_binding(body_networks.first_of(fields.get("networks", {})))
    fields |= _optional("ports", body_networks.ports_of(host, _exposed(body, host, image), address))
    if fields.get("network_mode") == "host" and not fields.get("hostname") and fields.get("uts") != "host":
        fields["hostname"] = lookup.host_name()
    restart, removes = body_limits.restart_of(host), flag_of(host, "AutoRemove")
    if removes and restart.policy != "no":
        raise Invalid("", "", "can't create 'AutoRemove' container with restart policy")
    return ContainerSpec(
        image=image.id,
        container_name=name,
        restart=restart,
        ensure="stopped",
        asked=Asked(
            image=text_of(body, "Image"),
            request=dict(body),
            auto_remove=removes,
            **_optional("tty_size", _tty_size(host, is_tty=flag_of(body, "Tty"))),
        ),
        **fields,
    )


def _tty_size(host: Mapping[str, Any], *, is_tty: bool) -> tuple[int, int] | None:
    size = read_console_size(list_of(host, "ConsoleSize"))
    return size if is_tty and all(size) else None


def _optional(field: str, value: Any) -> dict[str, Any]:
    """Fields that say nothing are not set: hashes are over those that are."""
    return {field: value} if value else {}


def _refuse_unknown(body: Mapping[str, Any], host: Mapping[str, Any]) -> None:
    for name, value in body.items():
        if name not in _KNOWN and value:
            raise Invalid("read request", name[:40], "not a field of a container")
    if map_of(host, "StorageOpt"):
        raise Unsupported(
            "create", "StorageOpt", "--storage-opt is supported only where each root has a quota of its own: "
            "here all lie on one file system", "keep what grows in a tmpfs with a size, or in a volume",
        )  # fmt: skip
    if text_of(host, "CgroupParent"):
        raise Unsupported(
            "create", "CgroupParent", "a container's group lies in the engine's own, where it is found after "
            "a crash, and its limits are what its own spec says", "limit the containers themselves",
        )  # fmt: skip
    for name in ("Cgroup", "VolumeDriver"):
        if host.get(name) and host[name] != "local":
            raise Unsupported("create", name, "not to be had here", "leave it out")
    if text_of(host, "Runtime") not in RUNTIMES:
        raise Invalid("", "", f"unknown or invalid runtime name: {text_of(host, 'Runtime')[:40]}")
    if text_of(host, "UTSMode") == "host" and text_of(body, "Hostname"):
        raise Invalid("", "", "conflicting options: hostname and the UTS mode")
    if text_of(host, "Isolation") not in ("", "default"):
        raise Invalid("", "", f"invalid isolation {text_of(host, 'Isolation')[:40]!r} on linux")


def _exposed(body: Mapping[str, Any], host: Mapping[str, Any], image: ImageInfo) -> tuple[str, ...]:
    return body_networks.exposed_of(body, host, image.exposed_ports)


# --- the process ------------------------------------------------------------------------------------


def _process(body: Mapping[str, Any], image: ImageInfo) -> dict[str, Any]:
    entrypoint, command = command_of(body, image)
    labels = text_map_of(body, "Labels")
    if sum(len(key) + len(value) for key, value in labels.items()) > MAX_LABEL_BYTES:
        raise Invalid("read request", "Labels", f"over {MAX_LABEL_BYTES} bytes")
    if bad := next((key for key in labels if key.startswith("setpoint.")), ""):
        raise Invalid("", "", f"label {bad[:60]}: setpoint.* is this engine's own (hint: another prefix)")
    found: dict[str, Any] = {"entrypoint": entrypoint, "command": command}
    texts = {
        "user": "User", "working_dir": "WorkingDir", "hostname": "Hostname", "domainname": "Domainname",
    }  # fmt: skip
    found |= {field: text_of(body, name) for field, name in texts.items() if text_of(body, name)}
    if long := next(
        (name for name in ("Hostname", "Domainname") if len(text_of(body, name).encode()) > 64), ""
    ):
        raise Invalid("", "", f"invalid {long}: over 64 bytes, which is the kernel's bound")
    if not (directory := text_of(body, "WorkingDir") or "/").startswith("/"):
        what = f"the working directory '{directory[:100]}' is invalid"
        raise Invalid("", "", f"{what}, it needs to be an absolute path")
    environment, unset = environment_of(texts_of(body, "Env"))
    found |= _optional("environment", environment) | _optional("environment_unset", unset)
    found |= _optional("labels", labels)
    found |= {
        field: True for field, name in (("tty", "Tty"), ("stdin_open", "OpenStdin")) if flag_of(body, name)
    }
    if signal := text_of(body, "StopSignal"):
        found["stop_signal"] = checked_signal(signal)
    if body.get("StopTimeout") is not None:
        seconds = whole_of(body, "StopTimeout")
        found["stop_grace_period"] = FOREVER_SECONDS if seconds < 0 else float(seconds)
    return found


def command_of(body: Mapping[str, Any], image: ImageInfo) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Entrypoint and command, with the image's where none is said. [""] clears the entrypoint."""
    entrypoint, command = _words(body, "Entrypoint"), _words(body, "Cmd")
    if not entrypoint:
        command = command or image.command
        entrypoint = image.entrypoint
    elif entrypoint == ("",):
        entrypoint = ()
    if not (entrypoint or command) or (not entrypoint and command[0] == ""):
        raise Invalid("", "", "no command specified")
    return entrypoint, command


def _words(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A list; older clients say a single word."""
    value = body.get(name)
    return (text_of(body, name),) if isinstance(value, str) and value else texts_of(body, name)


def environment_of(entries: tuple[str, ...]) -> tuple[dict[str, str], tuple[str, ...]]:
    """NAME=value; a NAME alone is one that the container is to be without, the image's too. The last one of a
    name counts."""
    found: dict[str, str | None] = {}
    for entry in entries:
        name, sign, value = entry.partition("=")
        if not name:
            raise Invalid("", "", f"invalid environment variable: {entry[:60]}")
        found[name] = value if sign else None
    said = {name: value for name, value in found.items() if value is not None}
    return said, tuple(name for name in found if name not in said)


def checked_signal(text: str) -> str:
    name = text.upper() if text.upper().startswith("SIG") else f"SIG{text.upper()}"
    is_number = text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= 64
    if is_number or name in SIGNAL_NAMES or re.fullmatch(r"SIGRTM(IN\+|AX-)[0-9]{1,2}", name):
        return text
    raise Invalid("", "", f"invalid signal: {text[:40]}")


def _healthcheck(data: Mapping[str, Any]) -> Healthcheck | None:
    """0 is not said. A test of () takes the image's."""
    if not data:
        return None
    test = texts_of(data, "Test")
    if test and test[0] not in ("NONE", "CMD", "CMD-SHELL"):
        raise Invalid("", "", f"unknown type '{test[0][:20]}' in Healthcheck (try 'CMD')")
    if test[:1] == ("NONE",):
        return Healthcheck(disable=True)
    if test and len(test) < 2:
        raise Invalid("", "", f"Healthcheck of type {test[0]} without a command")
    names = {
        "interval": "Interval", "timeout": "Timeout", "start_period": "StartPeriod",
        "start_interval": "StartInterval",
    }  # fmt: skip
    fields: dict[str, Any] = {
        field: seconds
        for field, name in names.items()
        if (seconds := body_limits.seconds_of(whole_of(data, name), name))
    }
    if retries := whole_of(data, "Retries"):
        if retries < 0:
            raise Invalid("", "", "Retries in Healthcheck cannot be negative")
        fields["retries"] = retries
    return Healthcheck(test=test, **fields) if test or fields else None


# --- the host's side --------------------------------------------------------------------------------


def _isolation(host: Mapping[str, Any], lookup: Lookup) -> dict[str, Any]:
    found: dict[str, Any] = {}
    flags = {"privileged": "Privileged", "read_only": "ReadonlyRootfs", "init": "Init",
             "oom_kill_disable": "OomKillDisable"}  # fmt: skip
    found |= {field: True for field, name in flags.items() if flag_of(host, name)}
    found |= _optional("cap_add", _capabilities(host, "CapAdd"))
    found |= _optional("cap_drop", _capabilities(host, "CapDrop"))
    found |= _optional("group_add", texts_of(host, "GroupAdd"))
    found |= _optional("sysctls", text_map_of(host, "Sysctls"))
    found |= _optional("annotations", _annotations(host))
    found |= _optional("shm_size", _shm_size(host))
    found |= _optional("oom_score_adj", _oom_score(host))
    found |= _namespaces(host, lookup)
    for option in texts_of(host, "SecurityOpt"):
        found |= _security_option(option, lookup)
    return found | _system_paths(host)


def _annotations(host: Mapping[str, Any]) -> dict[str, str]:
    if "" in (found := text_map_of(host, "Annotations")):
        raise Invalid("", "", "invalid Annotations: the empty string is not permitted as an annotation key")
    return found


def _shm_size(host: Mapping[str, Any]) -> int:
    """0 is the usual one."""
    if (size := whole_of(host, "ShmSize")) < 0:
        raise Invalid("", "", "SHM size can not be less than 0")
    return size


def _oom_score(host: Mapping[str, Any]) -> int:
    if not -1000 <= (score := whole_of(host, "OomScoreAdj")) <= 1000:
        raise Invalid("", "", f"Invalid value {score}, range for oom score adj is [-1000, 1000]")
    return score


def _system_paths(host: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of one's own; null is the usual ones."""
    if host.get("MaskedPaths") == [] and host.get("ReadonlyPaths") == []:
        return {"masked_paths": False}
    return {
        field: tuple(map(check_system_path, texts_of(host, name)))
        for field, name in (("hidden_paths", "MaskedPaths"), ("readonly_paths", "ReadonlyPaths"))
        if host.get(name) is not None
    }


def _capabilities(host: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(normal_capability(word) for word in texts_of(host, name)))


def _namespaces(host: Mapping[str, Any], lookup: Lookup) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ours, name, words in (
        ("pid", "PidMode", ("", "host")),
        ("ipc", "IpcMode", ("", "none", "private", "shareable", "host")),
        ("uts", "UTSMode", ("", "host")),
        ("userns_mode", "UsernsMode", ("", "host", "auto")),
    ):
        mode = text_of(host, name)
        if mode in words:
            found |= _optional(ours, mode)
        elif mode.startswith("container:") and ours in ("pid", "ipc"):
            found[ours] = f"container:{lookup.container(mode.partition(':')[2])}"
        else:
            raise Invalid("", "", f"invalid {name}: {mode[:60]}")
    if (mode := text_of(host, "CgroupnsMode")) not in ("", "private", "host"):
        raise Invalid("", "", f"invalid cgroup namespace mode: {mode[:60]}")
    if mode == "host" or (mode == "private" and flag_of(host, "Privileged")):  # private is what others are
        found["cgroup"] = mode
    return found


def _security_option(option: str, lookup: Lookup) -> dict[str, Any]:
    """The fields of the spec that one option sets; the content of a profile is what clients send."""
    name, sign, value = option.partition("=") if "=" in option.partition(":")[0] else option.partition(":")
    if not sign:
        name, _, value = option.partition("=")
    if name == "no-new-privileges" and value in ("", "true", "false"):
        return {"no_new_privileges": value != "false"}
    if name == "seccomp" and value in ("unconfined", "builtin", "default"):
        return {"seccomp": "unconfined" if value == "unconfined" else "default"}
    if name == "seccomp" and value.lstrip().startswith("{"):
        return {"seccomp": lookup.profile(value)}
    if name == "apparmor" and value:
        return {"apparmor": value}
    if name == "systempaths" and value == "unconfined":
        return {"masked_paths": False}
    if name == "label" and value == "disable":  # there are no labels here to disable
        return {}
    if name == "label":
        raise Unsupported("create", option[:60], "there is no SELinux here to label for", "leave it out")
    raise Invalid("", "", f"invalid --security-opt: {option[:60]!r}")


def _logging(data: Mapping[str, Any]) -> Logging | None:
    driver, options = text_of(data, "Type"), text_map_of(data, "Config")
    if driver == "none":
        if options:
            raise Invalid("", "", "the log driver none has no options", "leave them out")
        return Logging(driver="none")
    if driver not in ("", "json-file", "local"):
        raise Unsupported(
            "create", f"log driver {driver[:40]}", "output is kept in files here, bounded, and sent nowhere",
            "json-file, local or none, and a shipper that reads `docker logs` or the API",
        )  # fmt: skip
    fields: dict[str, Any] = {}
    for name, value in options.items():
        if name == "max-size":
            fields["max_size_bytes"] = _size(value)
        elif name == "max-file" and value.isascii() and value.isdigit() and 1 <= int(value[:6]) <= 1000:
            fields["max_file"] = int(value[:6])
        elif name in _LOG_WORDS:  # shown to who reads the log; see `log_attributes`
            fields[name] = value
        elif name in _OTHER_LOG_OPTIONS:
            raise Unsupported("create", f"log opt {name}={value[:40]}", *_OTHER_LOG_OPTIONS[name])
        elif (name, value) == ("mode", "non-blocking"):
            raise Unsupported(
                "create", "log opt mode=non-blocking", "no output is thrown away here", "blocking"
            )
        elif value not in _AS_IT_IS.get(name, ()):
            raise Invalid("", "", f"unknown log opt '{name[:40]}' for json-file log driver")
    check_tag(fields.get("tag", ""))
    return Logging(**fields) if fields else None


def _size(text: str) -> int:
    found = _SIZE.fullmatch(text)
    size = int(found[1]) * _UNITS[found[2].lower()] if found else 0
    if size < 4096:
        raise Invalid("", "", f"max-size {text[:20]!r}: at least 4096 bytes", "logs are always bounded")
    return size
