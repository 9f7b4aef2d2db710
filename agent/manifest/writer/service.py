"""A ContainerSpec as a compose service: the inverse of `agent.manifest.service`. Pure.

Only what is not the default is written, in the order in which people look for it. The one default that
says something is the restart policy: a manifest that names none has its container put back.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Mapping
from typing import Any

from agent.manifest.spec import (
    Attachment,
    Blkio,
    BuildSecret,
    BuildSpec,
    ContainerSpec,
    Dependency,
    Healthcheck,
    Logging,
    Restart,
    UlimitSpec,
    UpdateSpec,
)
from agent.manifest.writer import values
from agent.manifest.writer.yaml_text import Flow, Quoted

Fields = dict[str, Any]

NOT_WRITTEN = frozenset({"asked"})
"""What is no part of what a manifest says: how the Docker API was asked."""
_WITH_OTHERS = frozenset({"build", "environment_unset"})
"""Written beside, or within, another field."""
_SECURITY = ("no_new_privileges", "seccomp", "apparmor", "masked_paths")


def service(spec: ContainerSpec, directory: str = "") -> Fields:
    """The fields of a service, to be written as YAML. directory: of the file, below the source's top."""
    found: Fields = {}
    for name, write in _WRITERS.items():
        if name == "security_opt":
            found |= _list(name, options) if (options := security_options(spec)) else {}
        elif name == "environment":
            found |= environment(spec)
        elif _is_said(spec, name):
            found |= write(name, getattr(spec, name))
    if spec.build is not None:
        found = {"build": build(spec.build, directory)} | found
        found.pop("image", None)
    return found


def unwritten(spec: ContainerSpec) -> tuple[str, ...]:
    """Fields that say something and that this writer does not know."""
    known = {*_WRITERS, *_SECURITY, *NOT_WRITTEN, *_WITH_OTHERS}
    return tuple(name for name in type(spec).model_fields if name not in known and _is_said(spec, name))


def _is_said(spec: ContainerSpec, name: str) -> bool:
    if name == "restart":
        return "restart" in spec.model_fields_set
    field = type(spec).model_fields[name]
    return bool(field.is_required() or getattr(spec, name) != field.default)


# --- one kind of field --------------------------------------------------------------------------


def _as_it_is(name: str, value: Any) -> Fields:
    return {name: value}


def _list(name: str, value: tuple[str, ...]) -> Fields:
    return {name: list(value)}


def _line(name: str, value: tuple[str, ...]) -> Fields:
    """A short list, on one line."""
    return {name: Flow(value)}


def _words(name: str, value: tuple[str, ...]) -> Fields:
    return {name: Flow(Quoted(word) for word in value)}


def _mapping(name: str, value: Mapping[str, str]) -> Fields:
    return {name: dict(value)}


def _size(name: str, value: int) -> Fields:
    return {name: values.size_text(value)}


def _duration(name: str, value: float) -> Fields:
    return {name: values.duration_text(value)}


def _number(name: str, value: float) -> Fields:
    return {name: values.number(value)}


def _quoted(name: str, value: str) -> Fields:
    return {name: Quoted(value)}


# --- fields of their own form -----------------------------------------------------------------------


def build(spec: BuildSpec, directory: str) -> str | Fields:
    """directory: of the file, which contexts are written from."""
    context = posixpath.relpath(spec.context or ".", directory or ".")
    found: Fields = {"context": context}
    for name, write in _BUILD_WRITERS.items():
        value = getattr(spec, name)
        if value != BuildSpec.model_fields[name].default:
            found |= write(name, value)
    if spec.additional_contexts:
        found["additional_contexts"] = {
            name: f"docker-image://{each.image}"
            if each.image
            else posixpath.relpath(each.context or ".", directory or ".")
            for name, each in spec.additional_contexts.items()
        }
    return found if len(found) > 1 else context


def _build_secrets(name: str, value: Mapping[str, BuildSecret]) -> Fields:
    """Each with where it is: what is written has no section of secrets."""
    return {name: [{"source": id} | each.model_dump(exclude_defaults=True) for id, each in value.items()]}


def _sockets(name: str, value: Mapping[str, str]) -> Fields:
    return {name: [f"{id}={path}" if path else id for id, path in value.items()]}


def _mounts(_name: str, value: Any) -> Fields:
    volumes, tmpfs = values.volumes_and_tmpfs(value)
    return ({"volumes": volumes} if volumes else {}) | ({"tmpfs": tmpfs} if tmpfs else {})


def _ports(name: str, value: Any) -> Fields:
    return {name: values.ports(value)}


def _devices(name: str, value: Any) -> Fields:
    return {name: [values.device(each) for each in value]}


def _networks(name: str, value: Mapping[str, Attachment]) -> Fields:
    if all(attachment == Attachment() for attachment in value.values()):
        return {name: list(value)}
    return {name: {key: _attachment(attachment) or None for key, attachment in value.items()}}


def _attachment(attachment: Attachment) -> Fields:
    found = attachment.model_dump(exclude_defaults=True)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in found.items()}


def _hosts(name: str, value: tuple[tuple[str, str], ...]) -> Fields:
    """A name with several addresses needs the long form."""
    names = [host for host, _ in value]
    if len(set(names)) == len(names):
        return {name: [f"{host}{'=' if ':' in address else ':'}{address}" for host, address in value]}
    grouped: dict[str, list[str]] = {}
    for host, address in value:
        grouped.setdefault(host, []).append(address)
    return {name: grouped}


def environment(spec: ContainerSpec) -> Fields:
    """A variable without a value is one that the image's is taken away of."""
    said = {**spec.environment, **dict.fromkeys(spec.environment_unset)}
    return {"environment": said} if said else {}


def _links(name: str, value: tuple[tuple[str, str], ...]) -> Fields:
    return {name: [other if other == alias else f"{other}:{alias}" for other, alias in value]}


def _blkio(name: str, value: Blkio) -> Fields:
    found: Fields = {}
    for field, each in value.model_dump(exclude_defaults=True).items():
        if not isinstance(each, tuple):
            found[field] = each
            continue
        is_bytes = field.endswith("_bps")
        found[field] = [
            {**one, "rate": values.size_text(one["rate"])} if is_bytes else dict(one) for one in each
        ]
    return {name: found}


def security_options(spec: ContainerSpec) -> tuple[str, ...]:
    """Four fields of the spec are one list in a manifest."""
    options = ["no-new-privileges:true"] if spec.no_new_privileges else []
    options += [f"seccomp={spec.seccomp}"] if spec.seccomp != "default" else []
    options += [f"apparmor={spec.apparmor}"] if spec.apparmor else []
    return (*options, *(() if spec.masked_paths else ("systempaths=unconfined",)))


def _ulimits(name: str, value: Mapping[str, UlimitSpec]) -> Fields:
    found: Fields = {}
    for limit, each in value.items():
        found[limit] = each.soft if each.soft == each.hard else {"soft": each.soft, "hard": each.hard}
    return {name: found}


def _restart(name: str, value: Restart) -> Fields:
    attempts, window = Restart().max_attempts, Restart().window_seconds
    if value.window_seconds != window or (value.max_attempts != attempts and value.policy != "on-failure"):
        found: Fields = {"policy": value.policy, "max_attempts": value.max_attempts}
        return {name: found | {"window": values.duration_text(value.window_seconds)}}
    if value.max_attempts != attempts and value.max_attempts < 10_000:
        return {name: f"on-failure:{value.max_attempts}"}
    if value.max_attempts != attempts:
        return {name: {"policy": value.policy, "max_attempts": value.max_attempts}}
    return {name: value.policy}


def _healthcheck(name: str, value: Healthcheck) -> Fields:
    found: Fields = {}
    for field, each in value.model_dump(exclude_defaults=True).items():
        if field == "test":
            found[field] = Flow(map(Quoted, each))
        elif isinstance(each, float):
            found[field] = values.duration_text(each)
        else:
            found[field] = each
    return {name: found}


def _depends_on(name: str, value: Mapping[str, Dependency]) -> Fields:
    if all(dependency == Dependency() for dependency in value.values()):
        return {name: list(value)}
    found: Fields = {}
    for key, each in value.items():
        found[key] = {"condition": each.condition} | each.model_dump(exclude_defaults=True)
    return {name: found}


def _logging(name: str, value: Logging) -> Fields:
    found: Fields = {"driver": value.driver} if value.driver else {}
    options: Fields = {}
    if value.max_size_bytes != Logging().max_size_bytes:
        options["max-size"] = values.size_text(value.max_size_bytes)
    if value.max_file != Logging().max_file:
        options["max-file"] = value.max_file
    options |= {word: Quoted(said) for word in ("labels", "env", "tag") if (said := getattr(value, word))}
    return {name: found | ({"options": options} if options else {})}


def update(name: str, value: UpdateSpec) -> Fields:
    found = value.model_dump(exclude_defaults=True)
    if len(found) == 1:
        return {name: value.policy}
    if "minimum_age" in found:
        found["minimum_age"] = values.duration_text(value.minimum_age)
    if "window" in found:
        found["window"] = list(value.window)
    return {name: found}


_Write = Callable[[str, Any], Fields]
_BUILD_WRITERS: dict[str, _Write] = {
    "dockerfile": _as_it_is,
    "dockerfile_inline": _as_it_is,
    "args": _as_it_is,
    "labels": _as_it_is,
    "target": _as_it_is,
    "platform": lambda name, value: {"platforms": [value]},
    "network": _as_it_is,
    "no_cache": _as_it_is,
    "pull": _as_it_is,
    "tags": _list,
    "cache_from": _list,
    "cache_to": lambda name, value: {name: [value]},
    "secrets": _build_secrets,
    "ssh": _sockets,
    "shm_size": _size,
    "ulimits": _ulimits,
    "extra_hosts": _hosts,
}
_WRITERS: dict[str, _Write] = {
    "image": _as_it_is,
    "platform": _as_it_is,
    "pull_policy": _as_it_is,
    "update": update,
    "container_name": _as_it_is,
    "hostname": _as_it_is,
    "domainname": _as_it_is,
    "profiles": _list,
    "entrypoint": _words,
    "command": _words,
    "working_dir": _as_it_is,
    "user": _as_it_is,
    "group_add": _list,
    "init": _as_it_is,
    "tty": _as_it_is,
    "stdin_open": _as_it_is,
    "environment": _mapping,
    "ports": _ports,
    "expose": lambda name, value: {name: [Quoted(port) for port in value]},
    "network_mode": _as_it_is,
    "networks": _networks,
    "extra_hosts": _hosts,
    "links": _links,
    "external_links": _links,
    "dns": _list,
    "dns_search": _list,
    "dns_opt": _list,
    "mounts": _mounts,
    "devices": _devices,
    "device_cgroup_rules": lambda name, value: {name: [Quoted(rule) for rule in value]},
    "depends_on": _depends_on,
    "healthcheck": _healthcheck,
    "on_unhealthy": _as_it_is,
    "restart": _restart,
    "stop_signal": _as_it_is,
    "stop_grace_period": _duration,
    "scale": _as_it_is,
    "cpus": _number,
    "cpu_period": _as_it_is,
    "cpu_shares": _as_it_is,
    "cpuset": _quoted,
    "cpuset_mems": _quoted,
    "cpu_rt_period": _as_it_is,
    "cpu_rt_runtime": _as_it_is,
    "blkio_config": _blkio,
    "mem_limit": _size,
    "memswap_limit": _size,
    "mem_reservation": _size,
    "mem_swappiness": _as_it_is,
    "shm_size": _size,
    "pids_limit": _as_it_is,
    "oom_score_adj": _as_it_is,
    "oom_kill_disable": _as_it_is,
    "ulimits": _ulimits,
    "read_only": _as_it_is,
    "privileged": _as_it_is,
    "cap_add": _line,
    "cap_drop": _line,
    "security_opt": _as_it_is,
    "hidden_paths": _list,
    "readonly_paths": _list,
    "userns_mode": _as_it_is,
    "cgroup": _as_it_is,
    "pid": _as_it_is,
    "ipc": _as_it_is,
    "uts": _as_it_is,
    "sysctls": _mapping,
    "logging": _logging,
    "labels": _mapping,
    "annotations": _mapping,
    "ensure": _as_it_is,
    "suspend": _as_it_is,
}
