"""The one gate: what of an object the policy refuses, and why. Pure and total.

Every way into desired state asks `judge`: manifests through `gate`, the API through the loop. A field of
a spec that can reach the host is judged here, every other one is named in HARMLESS: a new field that is in
neither fails a test, so that none slips by.
"""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from agent.manifest.spec import (
    AnySpec,
    ContainerSpec,
    ImageSpec,
    Mount,
    NetworkSpec,
    Port,
    SocketSpec,
    VolumeSpec,
)
from agent.policy.images import is_id, is_in_list, judge_rule
from agent.policy.judge_socket import judge_socket
from agent.policy.policy import Allow, Bind, Policy, PortRange
from runtime.errors import SetpointError
from runtime.security import DEFAULT_CAPABILITIES, MASKED_PATHS, READ_ONLY_PATHS, normal_capability
from runtime.volume_options import read_source
from store.records import Key

_JUDGED = """
privileged network_mode pid ipc uts cgroup userns_mode cap_add devices device_cgroup_rules mounts seccomp
apparmor masked_paths hidden_paths readonly_paths ports sysctls image build no_new_privileges read_only
"""
_HARMLESS = """
command entrypoint environment environment_unset working_dir user group_add hostname domainname
container_name labels annotations tty stdin_open init expose networks extra_hosts links external_links dns
dns_search dns_opt cap_drop ulimits shm_size cpus cpu_period cpu_shares cpuset cpuset_mems cpu_rt_period
cpu_rt_runtime blkio_config mem_limit memswap_limit mem_reservation mem_swappiness pids_limit oom_score_adj
oom_kill_disable restart stop_signal stop_grace_period healthcheck depends_on logging scale pull_policy
profiles ensure suspend on_unhealthy platform update asked
"""
_SOCKETS = "path limits owner mode allow label quota time_to_live labels ensure suspend"
_THINGS = """
name driver driver_opts below external internal subnet gateway ip_range aux_addresses mtu isolated routed
bridge ipv6 labels ensure suspend keep asked
"""
JUDGED, HARMLESS = frozenset(_JUDGED.split()), frozenset(_HARMLESS.split())
THINGS = frozenset(_THINGS.split())
"""Fields of networks and volumes that were looked at; `external`, `driver_opts` and `bridge` are judged."""
SOCKETS = frozenset(_SOCKETS.split())
"""Fields of sockets; the first two are judged."""
Part = str | int | tuple[int, int]
Place = tuple[Part, ...]
"""Keys, and items of lists: the n-th, or (n, count) where only a list as long as that is the same one. A key
under a list is the beginning of one of its texts."""


@dataclass(frozen=True, slots=True)
class Violation:
    """rule: as the policy names it. place: the field in the manifest, for its line and column. text: what
    was asked for. hint: what would allow it. line: of the rule in the policy's file, 0 for none. because:
    more than that the rule does not name it."""

    rule: str
    place: Place
    text: str
    hint: str
    line: int = 0
    because: str = ""

    def message(self, policy: Policy) -> str:
        place = f"{policy.origin}:{self.line}" if self.line else policy.origin
        more = f": {self.because}" if self.because else ""
        return f"{self.text} is not allowed by {place} (rule {self.rule}){more}"


def judge(policy: Policy, key: Key, spec: AnySpec, file: str = "") -> tuple[Violation, ...]:
    """All that an object asks for and may not have; () when it may be. What is to be absent asks nothing."""
    if policy.is_open or spec.ensure == "absent":
        return ()
    allow = policy.allowed(key.project, file)
    if isinstance(spec, ContainerSpec):
        return (*_container(allow, spec), *_image(policy, allow, spec), *_required(policy, spec))
    if isinstance(spec, ImageSpec):
        return tuple(_image(policy, allow, spec))
    if isinstance(spec, SocketSpec):
        return tuple(_refused(*found) for found in judge_socket(allow, spec))
    if spec.external and not _matches(allow.external, spec.name or key.name):
        return (_refused("external", ("external",), f"external {key.kind} {spec.name or key.name}"),)
    return tuple(_volume(allow, spec) if isinstance(spec, VolumeSpec) else _network(allow, spec))


def _refused(rule: str, place: Place, text: str, example: str = "") -> Violation:
    return Violation(rule, place, text, f"add {example or 'it'} to {rule} there, or remove it here")


def _container(allow: Allow, spec: ContainerSpec) -> Iterator[Violation]:
    if spec.privileged and not allow.privileged:
        yield Violation(
            "privileged", ("privileged",), "privileged", "name what it needs with cap_add, devices"
        )
    yield from _namespaces(allow, spec)
    yield from _build(allow, spec)
    yield from _capabilities(allow, spec)
    for index, device in enumerate(spec.devices):
        if not _has_device(allow, device.source):
            yield _refused("devices", ("devices", index), f"device {device.source}", device.source)
    for index, rule in enumerate(spec.device_cgroup_rules):
        if not _has_device(allow, "/dev"):  # a number is whatever has it
            yield _refused("devices", ("device_cgroup_rules", index), f"device rule {rule}", "/dev")
    for index, mount in enumerate(spec.mounts):
        yield from _mount(allow, index, mount)
    yield from _confinement(allow, spec)
    for index, port in enumerate(spec.ports):
        if allow.ports is not None and not any(_holds(known, port) for known in allow.ports):
            yield _refused("ports", ("ports", (index, len(spec.ports))), f"port {_port_text(port)}")
    for name in sorted(spec.sysctls):
        if not _matches(allow.sysctls, name.replace("/", ".")):
            yield _refused("sysctls", ("sysctls", name), f"sysctl {name}", name)


def _image(policy: Policy, allow: Allow, spec: ContainerSpec | ImageSpec) -> Iterator[Violation]:
    """By its name, as far as that goes: what the image is, is looked at before it runs (`needs`)."""
    image = spec.image
    if is_id(image):  # what it is called here is known when it is looked for
        return
    if allow.images is not None and not is_in_list(allow.images, image):
        hint = "add it to images there, or remove it here"
        yield Violation("images", ("image",), f"image {image}", hint, policy.lines.get("images", 0))
    elif refusal := judge_rule(policy, image, is_exact=getattr(spec, "build", None) is not None):
        yield Violation(
            refusal.rule, ("image",), f"image {image}", refusal.hint, refusal.line, refusal.text
        )  # fmt: skip


def _namespaces(allow: Allow, spec: ContainerSpec) -> Iterator[Violation]:
    modes = (("network", "network_mode", spec.network_mode), ("pid", "pid", spec.pid),
             ("ipc", "ipc", spec.ipc), ("uts", "uts", spec.uts),
             ("cgroup", "cgroup", spec.cgroup))  # fmt: skip
    for name, field, mode in modes:
        if mode == "host" and name not in allow.namespaces:
            yield _refused("namespaces", (field,), f"the host's {name} namespace", name)
        if mode.startswith("container:") and "container" not in allow.namespaces:
            yield _refused("namespaces", (field,), f"{field} {mode}", "container")


def _build(allow: Allow, spec: ContainerSpec) -> Iterator[Violation]:
    """Its steps run as containers do; of the host they reach the network, and what they are given of it."""
    build = spec.build
    if build is None:
        return
    if build.network == "host" and "network" not in allow.namespaces:
        yield _refused("namespaces", ("build", "network"), "the host's network for a build", "network")
    for index, secret in enumerate(build.secrets.values()):
        if secret.file and not any(bind.covers(secret.file) for bind in allow.binds):
            place = ("build", "secrets", index)
            yield _refused("binds", place, f"the file {secret.file} as a build's secret", secret.file)
    for id, path in build.ssh.items():
        yield from _socket_of_build(allow, id, path)


def _socket_of_build(allow: Allow, id: str, path: str) -> Iterator[Violation]:
    """Who may speak with an ssh agent may do what its keys may."""
    place = ("build", "ssh", id)
    if not path:
        hint = f"name its socket, {id}=/run/agent.sock, and add that to binds there"
        yield Violation("binds", place, "the ssh agent of Setpoint's agent for a build", hint)
    elif not any(bind.covers(path) and not bind.read_only for bind in allow.binds):
        yield _refused("binds", place, f"the socket {path} for a build", path)


def _capabilities(allow: Allow, spec: ContainerSpec) -> Iterator[Violation]:
    if "ALL" in allow.capabilities:
        return
    for index, name in enumerate(spec.cap_add):
        full = normal_capability(name)
        if full not in DEFAULT_CAPABILITIES and full not in allow.capabilities:
            yield _refused(
                "capabilities", ("cap_add", index), f"capability {full}", full.removeprefix("CAP_")
            )


def _mount(allow: Allow, index: int, mount: Mount) -> Iterator[Violation]:
    if mount.type != "bind":
        return
    place = ("volumes", index)
    covering = [bind for bind in allow.binds if bind.covers(mount.source)]
    is_read_only = mount.read_only and mount.recursive != "writable"  # with what is mounted below it
    how = "mount it read-only (:ro)" if not mount.read_only else "leave out recursive: writable"
    if refused := _path(covering, place, mount.source, how, is_read_only):
        yield refused
    elif mount.propagation.endswith("shared") and not any(bind.shared for bind in covering):
        yield Violation("binds", place, f"propagation {mount.propagation} of {mount.source}",
                        f"rslave, or {mount.source}:shared there")  # fmt: skip


def _path(covering: list[Bind], place: Place, source: str, how: str, is_read_only: bool) -> Violation | None:
    """A directory of the host that a container gets. how: it would not be written to."""
    if not covering:
        return _refused("binds", place, f"bind mount of {source}", source)
    if not is_read_only and all(bind.read_only for bind in covering):
        return Violation("binds", place, f"writing to {source}", how)
    return None


def _network(allow: Allow, spec: NetworkSpec) -> Iterator[Violation]:
    """The name of a link of the host may be one that something else there waits for."""
    if spec.bridge and "network" not in allow.namespaces:
        yield _refused("namespaces", ("driver_opts",), f"bridge {spec.bridge} by its name", "network")


def _volume(allow: Allow, spec: VolumeSpec) -> Iterator[Violation]:
    """What its options have mounted, as if a container had it by itself."""
    try:
        source = read_source(spec.driver_opts)
    except SetpointError:  # and nothing is ever mounted by them
        return
    place = ("driver_opts", "device")
    if source is not None and source.kind == "bind":
        covering = [bind for bind in allow.binds if bind.covers(source.device)]
        if refused := _path(covering, place, source.device, "add ro to o", source.is_read_only):
            yield refused
    elif source is not None and source.kind == "device" and not _has_device(allow, source.device):
        yield _refused("devices", place, f"device {source.device}", source.device)


def _has_device(allow: Allow, path: str) -> bool:
    return any(_below(pattern, path) for pattern in allow.devices)


def _confinement(allow: Allow, spec: ContainerSpec) -> Iterator[Violation]:
    for name, value, is_loose in (
        ("seccomp", spec.seccomp, spec.seccomp != "default"),
        ("apparmor", spec.apparmor, spec.apparmor != ""),
        ("masked_paths", "unconfined", not spec.masked_paths),
    ):
        if is_loose and name not in allow.unconfined:
            option = "systempaths" if name == "masked_paths" else name
            yield _refused("unconfined", ("security_opt", option), f"{option}={value}", name)
    for name, said, usual in (
        ("hidden_paths", spec.hidden_paths, MASKED_PATHS),
        ("readonly_paths", spec.readonly_paths, READ_ONLY_PATHS),
    ):
        bare = [path for path in usual if said is not None and path not in said]
        if bare and "masked_paths" not in allow.unconfined:
            yield _refused("unconfined", (name,), f"{name} without {bare[0]}", "masked_paths")


def _required(policy: Policy, spec: ContainerSpec) -> Iterator[Violation]:
    for name, is_met, place, how in (
        ("user_namespace", spec.userns_mode.startswith("auto"), "userns_mode", "userns_mode: auto"),
        ("no_new_privileges", spec.no_new_privileges, "security_opt", "no-new-privileges:true there"),
        ("read_only", spec.read_only, "read_only", "read_only: true"),
    ):  # fmt: skip
        if name in policy.require and not is_met:
            yield Violation("require", (place,), f"to be without {name}", f"write {how}")


# --- how a rule fits --------------------------------------------------------------------------


def _matches(patterns: tuple[str, ...] | None, text: str) -> bool:
    return patterns is None or any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)


def _below(pattern: str, path: str) -> bool:
    """Whether a path is, or lies below, one that the pattern names; "*" stays within one part."""
    if ".." in path.split("/"):
        return False
    parts = re.escape(posixpath.normpath(pattern)).replace(r"\*", "[^/]*")
    return re.fullmatch(f"{parts.rstrip('/')}(/.*)?", posixpath.normpath(path), re.DOTALL) is not None


def _port_text(port: Port) -> str:
    address = f"{port.host_ip}:" if port.host_ip else ""
    last = f"-{port.published_last}" if port.published_last else ""
    return f"{address}{port.published or 'any'}{last}/{port.protocol}"


def _holds(known: PortRange, port: Port) -> bool:
    if known.protocol not in ("", port.protocol) or known.address not in ("", port.host_ip):
        return False
    if port.published is None:  # one that is free, out of the host's range for such
        return known.first <= 1024 and known.last == 65535
    return known.first <= port.published and (port.published_last or port.published) <= known.last


def bind_root(policy: Policy, source: str) -> str:
    """The allowed directory that a bind's source must be below when it is opened, whatever links say; ""
    where nothing is refused. The outermost that anybody may write to: who writes there plants the links."""
    if policy.is_open:
        return ""
    rules = [policy.allow, *(rule.allow for rule in policy.projects.values())]
    covering = [bind for rule in rules for bind in rule.binds if bind.covers(source)]
    writable = [bind for bind in covering if not bind.read_only] or covering
    return min(writable, key=lambda bind: len(bind.path), default=Bind("")).path
