"""What a body may say at a scoped socket, and what is written into it: the label, and the end of its time.
The parsed object that handlers act by is what is looked at here. Called by `gate` and by the create of
containers.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator
from typing import Any

from agent.api.context import Context
from agent.api.docker.answers import Forbidden
from agent.api.docker.bodies import flag_of, list_of, map_of, text_map_of, text_of, texts_of
from agent.api.docker.finding import find_container
from agent.api.docker.network_body import has_ipv6
from agent.api.sockets.images import check_here
from agent.api.sockets.quota import with_limits
from agent.api.sockets.scope import Scope
from agent.manifest.network_options import BRIDGE_NAME
from agent.manifest.spec import ContainerSpec, VolumeSpec
from agent.policy.judge import bind_root, judge
from agent.policy.policy import Policy
from agent.reconcile.api_objects import API_PROJECT, named_key
from agent.reconcile.convert import stored_name
from runtime.errors import Conflict, NotFound
from runtime.network.bridges import is_forwarding6
from runtime.volume_options import is_bind
from store.records import Key

LABELLED = frozenset(("/containers/create", "/networks/create", "/volumes/create"))
BUILT_IN = frozenset(("bridge", "host", "none", "default"))


def amended(method: str, path: str, body: dict[str, Any], scope: Scope, context: Context) -> dict[str, Any]:
    """The body as the handler gets it. Forbidden, NotFound or Conflict for what is out of scope."""
    if path == "/containers/{id}/exec" and flag_of(body, "Privileged") and not scope.allow.privileged:
        raise Forbidden(f"a privileged exec is not allowed at the socket {scope.name}")
    if path in ("/networks/{id}/connect", "/networks/{id}/disconnect"):
        return body | {"Container": _check_container(context, scope, text_of(body, "Container"))}
    if path not in LABELLED:
        return body
    for reference in texts_of(map_of(body, "HostConfig"), "VolumesFrom"):
        _check_container(context, scope, reference.partition(":")[0])
    if path == "/networks/create":
        _check_subnet(scope, body)
    if path == "/volumes/create":
        _check_volume_name(context, scope, text_of(body, "Name"))
    return body | {"Labels": scope.labelled(text_map_of(body, "Labels"))}


def _check_container(context: Context, scope: Scope, reference: str) -> str:
    """The id of one that is in scope."""
    state = find_container(context, reference)
    if not scope.has(state.labels):
        raise NotFound("", "", f"No such container: {reference[:128]}")
    return state.id


def _check_subnet(scope: Scope, body: dict[str, Any]) -> None:
    """The host sends there what is meant for a network's addresses: who chooses them takes the place of
    others, of a name server or of a machine behind the host's router."""
    if "network" in scope.allow.namespaces:
        return
    if list_of(map_of(body, "IPAM"), "Config"):
        raise Forbidden(f"a subnet of one's own is not allowed at the socket {scope.name}: leave it out")
    if BRIDGE_NAME in text_map_of(body, "Options"):
        raise Forbidden(f"a bridge's name is not allowed at the socket {scope.name}: leave it out")
    if has_ipv6(body) and not is_forwarding6():  # the first such network has the host pass packets on
        raise Forbidden(f"IPv6 is not allowed at the socket {scope.name} on a host that does not forward it")


def _check_weight(scope: Scope, spec: ContainerSpec) -> None:
    """Where memory is short, the kernel ends who comes first: nobody puts others before itself."""
    if (spec.oom_score_adj or 0) < 0 and not scope.allow.privileged:
        raise Forbidden(f"an oom_score_adj below 0 is not allowed at the socket {scope.name}: leave it out")


def _check_addresses(context: Context, scope: Scope, spec: ContainerSpec) -> None:
    """Of one's own on networks that others are on, whose place they would take."""
    if "network" in scope.allow.namespaces:
        return
    for name, attachment in spec.networks.items():
        has_own = attachment.ipv4_address or attachment.ipv6_address or attachment.mac_address
        if has_own and not _is_in_scope(context, scope, "network", name):
            what = f"an address of one's own on the network {name}"
            raise Forbidden(f"{what} is not allowed at the socket {scope.name}: leave it out")


def _check_volume_name(context: Context, scope: Scope, name: str) -> None:
    """One that is there already, or comes, would be the answer. Also one that nobody wants any more: a volume
    outlives the manifest that made it, and is no less its writer's for that."""
    state = context.engine.volume(name)
    there = [state.labels] if state is not None else []
    wanted = [
        record.spec.get("labels", {})
        for key, record in context.loop.objects().items()
        if key.kind == "volume" and not record.spec.get("external") and stored_name(key, record.spec) == name
    ]
    if name and not all(map(scope.has, (*there, *wanted))):
        raise Conflict("", "", f"volume name {name[:128]} is taken")


def admit(
    context: Context, scope: Scope | None, spec: ContainerSpec, volumes: dict[str, VolumeSpec]
) -> ContainerSpec:
    """The container as it may be made: judged by what it asks of the host (as a policy judges), and by whose
    things it uses. Volumes that come with it get the label. scope None is a way in without one."""
    if scope is None:
        return spec
    policy = scope.policy
    check_here(context, scope, spec.asked.image if spec.asked is not None else spec.image)
    for violation in judge(policy, Key(API_PROJECT, "container", "new"), spec):
        raise Forbidden(violation.message(policy))
    _check_weight(scope, spec)
    _check_addresses(context, scope, spec)
    for kind, name in used_by(spec):
        if not (kind == "volume" and name in volumes):
            _check_used(context, scope, kind, name)
    for name, volume in volumes.items():
        _check_volume_name(context, scope, name)
        held = admit_volume(scope, volume)
        labels = scope.labelled(held.labels)
        volumes[name] = VolumeSpec.model_validate({**held.model_dump(exclude_unset=True), "labels": labels})
    return _held(policy, with_limits(scope, spec))


def admit_volume(scope: Scope | None, spec: VolumeSpec) -> VolumeSpec:
    """The same for a volume: what its options have mounted is judged, and a bind is held below what was
    given."""
    if scope is None or not spec.driver_opts:
        return spec
    for violation in judge(scope.policy, Key(API_PROJECT, "volume", "new"), spec):
        raise Forbidden(violation.message(scope.policy))
    if not is_bind(spec.driver_opts):
        return spec
    below = bind_root(scope.policy, spec.driver_opts["device"])
    return VolumeSpec.model_validate({**spec.model_dump(exclude_unset=True), "below": below})


def _held(policy: Policy, spec: ContainerSpec) -> ContainerSpec:
    """With each bind held below what was given: who writes there plants links for the next one."""
    if not any(mount.type == "bind" for mount in spec.mounts):
        return spec
    mounts = [
        mount.model_dump(exclude_unset=True)
        | ({"below": bind_root(policy, mount.source)} if mount.type == "bind" else {})
        for mount in spec.mounts
    ]
    return ContainerSpec.model_validate({**spec.model_dump(exclude_unset=True), "mounts": mounts})


def used_by(spec: ContainerSpec) -> Iterator[tuple[str, str]]:
    """The objects of others that a container would use: kind, and what its spec calls it. Pure."""
    for name in spec.networks:
        if name not in BUILT_IN:
            yield "network", name
    for mount in spec.mounts:
        if mount.type == "volume" and mount.source:
            yield "volume", mount.source
    for mode in (spec.network_mode, spec.pid, spec.ipc, spec.uts):
        kind, sign, name = mode.partition(":")
        if sign and kind in ("container", "service"):
            yield "container", name
    for name in (*spec.depends_on, *(other for other, _ in spec.external_links)):
        yield "container", name


def _is_in_scope(context: Context, scope: Scope, kind: str, name: str) -> bool:
    record = context.loop.objects().get(named_key(API_PROJECT, kind, name))
    return record is not None and scope.has(record.spec.get("labels", {}))


def _check_used(context: Context, scope: Scope, kind: str, name: str) -> None:
    """In scope, or named in the socket's limits."""
    if _is_in_scope(context, scope, kind, name):
        return
    key = named_key(API_PROJECT, kind, name)
    record = context.loop.objects().get(key)
    real = stored_name(key, record.spec) if record is not None else key.name
    patterns = scope.allow.external if kind != "container" else None
    if patterns is not None and any(fnmatch.fnmatchcase(real, pattern) for pattern in patterns):
        return
    words = {"network": f"network {real} not found", "volume": f"get {real}: no such volume"}
    raise NotFound("", "", words.get(kind, f"No such container: {name}"))
