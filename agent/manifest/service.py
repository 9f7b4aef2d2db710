"""A compose service, which is also the spec of a Container: every field that Setpoint knows.

Gives a ContainerSpec with only those fields set that the manifest sets, so that hashes do not change
with Setpoint's version. What the fields mean to people is in `explain`.
"""

from __future__ import annotations

from typing import Any

from agent.manifest import (
    parse_build,
    parse_environment,
    parse_limits,
    parse_mounts,
    parse_network,
    parse_ports,
    parse_run,
    parse_update,
)
from agent.manifest.nodes import Mapping, Node
from agent.manifest.parse_values import (
    Broken,
    Parser,
    boolean,
    choice,
    duration,
    fields,
    filled,
    integer,
    list_of,
    matching,
    one_or_list,
    pairs,
    size,
    size_or_unlimited,
    text,
    texts,
    words,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import ContainerSpec, Dependency

REAL_NAME = r"[a-zA-Z0-9][a-zA-Z0-9_.-]{1,127}"
real_name = matching(REAL_NAME, "a letter or digit, then letters, digits, '_', '.' or '-', at least 2")
RESERVED_LABELS = "setpoint."
DEFAULT_CPU_PERIOD = 100_000  # microseconds, the kernel's


def labels(r: Reading, node: Node) -> dict[str, str]:
    """A mapping or list; a label without a value has an empty one."""
    result: dict[str, str] = {}
    for name, (value, item) in pairs(r, node).items():
        if name.startswith(RESERVED_LABELS):
            hint = f"labels that start with {RESERVED_LABELS} are Setpoint's own"
            raise Refuse(f'label "{name}" is reserved', hint, item)
        result[name] = value or ""
    return result


def image(r: Reading, node: Node) -> str:
    """With the digest that the lock gives its tag."""
    value = filled(r, node)
    if any(character.isspace() or not character.isprintable() for character in value) or len(value) > 512:
        raise Refuse(f"{value[:60]!r} is not an image's name", "such as nginx:1.27")
    return r.locked_image(value)


def _container_name(r: Reading, node: Node) -> str:
    value = real_name(r, node)
    r.claim("container_name", value, at=node)
    return value


def _stop_grace(r: Reading, node: Node) -> float:
    return duration(r, node)


FIELDS: dict[str, Parser[Any]] = {
    "annotations": labels,
    "blkio_config": parse_limits.blkio_config,
    "build": parse_build.build,
    "cap_add": parse_run.capabilities,
    "cap_drop": parse_run.capabilities,
    "cgroup": choice("host", "private"),
    "command": words,
    "container_name": _container_name,
    "cpu_period": parse_limits.cpu_period,
    "cpu_quota": parse_limits.cpu_quota,
    "cpu_rt_period": parse_limits.microseconds,
    "cpu_rt_runtime": parse_limits.microseconds,
    "cpu_shares": parse_run.cpu_shares,
    "cpus": parse_run.cpus,
    "cpuset": parse_limits.processors,
    "cpuset_mems": parse_limits.processors,
    "depends_on": parse_run.depends_on,
    "deploy": parse_run.deploy,
    "device_cgroup_rules": parse_limits.device_cgroup_rules,
    "devices": parse_mounts.devices,
    "dns": one_or_list(parse_network.dns_address),
    "dns_opt": texts,
    "dns_search": one_or_list(text),
    "domainname": parse_network.domain_name,
    "ensure": choice("running", "stopped", "absent"),
    "entrypoint": words,
    "env_file": parse_environment.env_file,
    "environment": parse_environment.environment,
    "expose": parse_ports.expose,
    "external_links": parse_network.external_links,
    "extra_hosts": parse_network.extra_hosts,
    "group_add": parse_run.groups,
    "healthcheck": parse_run.healthcheck,
    "hidden_paths": parse_run.system_paths,
    "hostname": parse_network.host_name,
    "image": image,
    "init": boolean,
    "ipc": parse_network.ipc,
    "labels": labels,
    "links": parse_network.links,
    "logging": parse_run.logging,
    "mem_limit": size,
    "mem_reservation": size,
    "mem_swappiness": parse_limits.swappiness,
    "memswap_limit": size_or_unlimited,
    "network_mode": parse_network.network_mode,
    "networks": parse_network.networks,
    "on_unhealthy": choice("ignore", "restart"),
    "oom_kill_disable": boolean,
    "oom_score_adj": integer(-1000, 1000),
    "pid": parse_network.pid,
    "pids_limit": parse_run.pids,
    "ports": parse_ports.ports,
    "privileged": boolean,
    "profiles": list_of(filled),
    "platform": parse_run.platform,
    "pull_policy": parse_run.pull_policy,
    "read_only": boolean,
    "readonly_paths": parse_run.system_paths,
    "replicas": integer(0, 10_000),
    "restart": parse_run.restart,
    "scale": integer(0, 10_000),
    "security_opt": parse_run.security_opt,
    "shm_size": size,
    "stdin_open": boolean,
    "stop_grace_period": _stop_grace,
    "stop_signal": parse_run.stop_signal,
    "suspend": boolean,
    "sysctls": parse_run.sysctls,
    "tmpfs": parse_mounts.tmpfs,
    "tty": boolean,
    "ulimits": parse_run.ulimits,
    "user": text,
    "userns_mode": parse_network.userns_mode,
    "update": parse_update.update,
    "uts": parse_network.uts,
    "volumes": parse_mounts.volumes,
    "working_dir": filled,
    "x-setpoint-update": parse_update.update,
}
NULLABLE = ("command", "entrypoint")
OWN_FIELDS = (
    "cpuset_mems", "ensure", "hidden_paths", "on_unhealthy", "readonly_paths", "replicas", "suspend",
    "update", "x-setpoint-update",
)  # fmt: skip
"""Those that compose does not have."""

_LACKING = """
attach cgroup_parent configs cpu_count cpu_percent credential_spec develop extends gpus isolation label_file
mac_address models post_start pre_stop provider pull_refresh_after runtime secrets storage_opt use_api_socket
volumes_from
"""
LACKING = frozenset(_LACKING.split())
"""Those that compose has and Setpoint has not yet."""


def read_service(r: Reading, node: Node) -> ContainerSpec:
    """A service's spec; notes what it refers to and claims. Raises Refuse or Broken."""
    errors_before = len(r.errors)
    is_built = isinstance(node, Mapping) and "build" in node.entries
    required = () if is_built else ("image",)
    values = fields(r, node, FIELDS, lacking=LACKING, required=required, nullable=NULLABLE)
    assert isinstance(node, Mapping)
    _name_built(r, node, values)
    _join(r, node, values)
    _check(r, node, values)
    if len(r.errors) > errors_before:
        raise Broken
    return ContainerSpec(**values)


def _name_built(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    """An image that is built has the name of what it is built of; what image says is one more. It is for the
    platform that the service is for."""
    if (build := values.get("build")) is None:
        return
    if wanted := values.get("platform", ""):
        if build.platform not in ("", wanted):
            message = f"platform is {wanted} here and {build.platform} in build"
            r.error(node.entries["platform"].key, message, "keep one of them")
        build = build.model_copy(update={"platform": wanted})
    name = values.get("image", "")
    tags = tuple(dict.fromkeys((*build.tags, *([name] if name and "@" not in name else ()))))
    values["build"] = build.model_copy(update={"tags": tags}) if tags else build
    values["image"] = parse_build.image_of(build)


def _join(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    """Fields that stand for, or are joined to, fields of the spec."""
    mounts = (*values.pop("volumes", ()), *values.pop("tmpfs", ()))
    if mounts:
        values["mounts"] = mounts
    _join_environment(values)
    _join_quota(r, node, values)
    for name, _ in values.get("links", ()):
        values.setdefault("depends_on", {}).setdefault(name, Dependency())
    values |= values.pop("security_opt", {})
    if "replicas" in values:
        _set(r, node, values, "scale", values.pop("replicas"), "replicas")
    if "x-setpoint-update" in values:
        _set(r, node, values, "update", values.pop("x-setpoint-update"), "x-setpoint-update")
    for name, value in values.pop("deploy", {}).items():
        _set(r, node, values, name, value, "deploy")


def _join_environment(values: dict[str, Any]) -> None:
    """Files of variables, and names that are to have no value at all, the image's neither."""
    said: dict[str, str | None] = values.pop("environment", {})
    from_files = values.pop("env_file", None)
    found = {name: value for name, value in said.items() if value is not None}
    if from_files is not None or found:
        values["environment"] = (from_files or {}) | found
    if unset := tuple(
        name for name, value in said.items() if value is None and name not in (from_files or {})
    ):
        values["environment_unset"] = unset


def _join_quota(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    """cpu_quota of cpu_period are so many processors."""
    period, quota = values.get("cpu_period"), values.pop("cpu_quota", None)
    if quota is not None and quota > 0:
        _set(r, node, values, "cpus", quota / (period or DEFAULT_CPU_PERIOD), "cpu_quota")
    elif period is not None and not values.get("cpus"):
        r.warn(node.entries["cpu_period"].key, "cpu_period bounds nothing without cpus or cpu_quota")


def _set(r: Reading, node: Mapping, values: dict[str, Any], name: str, value: Any, source: str) -> None:
    """A value that a field and another way to say it must agree on."""
    if name in values and values[name] != value:
        message = f"{name} is {_shown(values[name])} here and {_shown(value)} in {source}"
        r.error(node.entries[name].key if name in node.entries else node, message, "keep one of them")
    values.setdefault(name, value)


def _shown(value: Any) -> str:
    return getattr(value, "policy", None) or str(value)


# --- checks over several fields ---------------------------------------------------------------


def _check(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    _check_network_mode(r, node, values)
    _check_names(r, node, values)
    _check_scale(r, node, values)
    _check_mounts(r, node, values)
    _check_memory(r, node, values)
    _check_realtime(r, node, values)
    _check_links(r, node, values)


def _check_network_mode(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    mode = values.get("network_mode", "")
    if not mode:
        return
    if "networks" in values:
        at = node.entries["network_mode"].key
        r.error(at, f"network_mode {mode} and networks exclude each other", "keep one of them")
    if not values.get("ports") or mode == "bridge":
        return
    if mode == "host":
        r.warn(node.entries["ports"].key, "ports have no effect with network_mode host")
    else:
        hint = "publish them where the network belongs" if ":" in mode else "remove one of them"
        r.error(node.entries["ports"].key, f"ports cannot be published with network_mode {mode}", hint)


def _check_names(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    """Names that would have no effect, since another's hold."""
    shared = {"hostname": "uts", "domainname": "uts", "extra_hosts": "network_mode"}
    for name, mode in shared.items():
        value = values.get(mode, "")
        if values.get(name) and (value == "host" if mode == "uts" else ":" in value):
            r.error(node.entries[name].key, f"{name} has no effect with {mode} {value}", "remove one of them")


def _check_scale(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    scale = values.get("scale", 1)
    if scale < 2:
        return
    if "container_name" in values:
        at = node.entries["container_name"].key
        r.error(at, f"container_name cannot go with {scale} replicas", "remove it: names must be unique")
    for port in values.get("ports", ()):
        if port.published is None:
            continue
        room = (port.published_last or port.published) - port.published + 1
        if room < scale:
            last = port.published + scale - 1
            message = f"host port {port.published} cannot be shared by {scale} replicas"
            r.error(
                node.entries["ports"].key,
                message,
                f'a range has room: "{port.published}-{last}:{port.target}"',
            )
    for name, attachment in values.get("networks", {}).items():
        if attachment.ipv4_address or attachment.ipv6_address or attachment.mac_address:
            at = node.entries["networks"].key
            r.error(at, f'a static address on "{name}" cannot be shared by {scale} replicas')


def _check_mounts(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    seen: set[str] = set()
    for mount in values.get("mounts", ()):
        if mount.target in seen:
            at = node.entries["volumes" if "volumes" in node.entries else "tmpfs"].key
            r.error(at, f'two mounts have the target "{mount.target}"', "keep one of them")
        seen.add(mount.target)


def _check_memory(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    limit, swap = values.get("mem_limit"), values.get("memswap_limit")
    reservation = values.get("mem_reservation")
    if swap is not None and swap > 0 and (limit is None or swap < limit):
        hint = "it counts memory and swap together"
        at = node.entries["memswap_limit"].key
        r.error(at, "memswap_limit needs a mem_limit that is not over it", hint)
    if limit and reservation and reservation > limit:
        r.error(
            node.entries.get("mem_reservation", node.entries["image"]).key,
            "mem_reservation is over mem_limit",
        )


def _check_realtime(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    period, runtime = values.get("cpu_rt_period"), values.get("cpu_rt_runtime")
    if runtime and runtime > (period or 1_000_000):
        at = node.entries["cpu_rt_runtime"].key
        r.error(at, "cpu_rt_runtime is over cpu_rt_period", "which is 1000000 (1s) where it is not said")


def _check_links(r: Reading, node: Mapping, values: dict[str, Any]) -> None:
    mode = values.get("network_mode", "")
    for name in ("links", "external_links"):
        if values.get(name) and mode not in ("", "bridge"):
            at = node.entries[name].key
            r.error(at, f"{name} have no effect with network_mode {mode}", "remove one of them")
