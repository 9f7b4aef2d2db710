"""Containers come to networks and leave them, while they run or not.

A call changes which networks the container is wanted on, and waits until it is so.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from agent.api.at_once import begun_at_once
from agent.api.context import Context
from agent.api.docker import wishes
from agent.api.docker.answers import Forbidden
from agent.api.docker.attempts import Attempt
from agent.api.docker.bodies import flag_of, json_body, map_of, text_of
from agent.api.docker.body_networks import attachment_of
from agent.api.docker.finding import find_container, owned_key
from agent.api.docker.network_finding import find_network, name_in_spec
from agent.api.docker.network_view import Seen
from agent.api.requests import context_of
from agent.manifest.spec import Attachment, ContainerSpec
from agent.reconcile.world import DEFAULT_BRIDGE
from runtime.errors import Conflict, Invalid, NotFound
from runtime.model import ContainerState
from runtime.network.addresses import check_mac
from store.records import Key

PRIVATE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"
SHARED = (
    "container sharing network namespace with another container or host cannot be connected to any other "
    "network"
)
HOST = "container cannot be disconnected from host network or connected to host network"
Networks = dict[str, Attachment]


@begun_at_once
async def connect(request: web.Request) -> web.Response:
    """Returns when it is on the network: at once when it runs, else from its next start on."""
    context, body = context_of(request), await json_body(request)
    state, seen = _named(context, request, body)
    key = owned_key(context, "connect", state)
    spec = _spec(context, key)
    _check_modes(spec, seen)
    has, name = networks_in(spec), _spec_name(seen)
    if name in has and state.phase in ("running", "paused") and _is_wanted(context, state, seen):
        raise Forbidden(f"endpoint with name {state.name} already exists in network {seen.name}")
    wanted = _checked(context, seen, state, attachment_of(map_of(body, "EndpointConfig")))
    if not wanted.priority:  # the way out, and what is published, stay where they are
        wanted = wanted.model_copy(update={"priority": min(0, *_priorities(has)) - 1})
    await _change(context, key, state, {**has, name: wanted}, lambda: _is_on(context, state, seen), has)
    context.engine.tell_names()
    return web.Response()


@begun_at_once
async def disconnect(request: web.Request) -> web.Response:
    """Returns when it is off the network. Force makes no difference: nothing is left half-connected here."""
    context, body = context_of(request), await json_body(request)
    flag_of(body, "Force")
    state, seen = _named(context, request, body)
    key = owned_key(context, "disconnect", state)
    spec = _spec(context, key)
    if seen.is_built_in and seen.name == spec.network_mode == "host":
        raise Invalid("", "", HOST)
    has, name = networks_in(spec), _spec_name(seen)
    if name not in has and not _is_wanted(context, state, seen):
        raise Conflict("", "", f"container {state.id} is not connected to network {seen.name}")
    left = {each: attachment for each, attachment in has.items() if each != name}
    await _change(context, key, state, left, lambda: not _is_wanted(context, state, seen), has)
    context.engine.tell_names()
    return web.Response()


def networks_in(spec: ContainerSpec) -> Networks:
    """The networks that a container of the API is on, by what its spec calls them."""
    if spec.network_mode == "bridge":
        return {str(DEFAULT_BRIDGE): Attachment()}
    return {} if spec.network_mode else dict(spec.networks)


def _named(context: Context, request: web.Request, body: Mapping[str, Any]) -> tuple[ContainerState, Seen]:
    reference = text_of(body, "Container")
    if not reference:
        raise Invalid("", "", 'invalid name or ID supplied: ""')
    return find_container(context, reference), find_network(context, request.match_info["id"])


def _spec(context: Context, key: Key) -> ContainerSpec:
    record = context.loop.objects().get(key)
    if record is None or record.deleting:
        raise NotFound("", "", f"No such container: {key.name}")
    return wishes.container_spec_of(record)


def _spec_name(seen: Seen) -> str:
    return name_in_spec(seen.key) if seen.key is not None else seen.name


def _check_modes(spec: ContainerSpec, seen: Seen) -> None:
    """A network of one's own is what others can be added to."""
    if seen.is_built_in and seen.name == "host":
        raise Invalid("", "", HOST)
    if spec.network_mode == "none" or (seen.is_built_in and seen.name == "none"):
        raise Invalid("", "", PRIVATE)
    if spec.network_mode not in ("", "bridge"):
        raise Invalid("", "", SHARED)
    if seen.key is None:
        raise Conflict("connect", seen.name, "no object of this engine's owns it")
    if seen.record is not None and seen.record.deleting and not seen.is_built_in:
        raise NotFound("", "", f"network {seen.name} not found")


def _priorities(has: Networks) -> list[int]:
    return [attachment.priority for attachment in has.values()] or [0]


def _checked(context: Context, seen: Seen, state: ContainerState, wanted: Attachment) -> Attachment:
    """What is said of the endpoint, as far as it can be known before it is made."""
    if wanted.mac_address:
        try:
            check_mac(state.name, wanted.mac_address)
        except Invalid:
            raise Invalid("", "", f"invalid MAC address {wanted.mac_address[:40]}") from None
    if seen.is_built_in and wanted.aliases:
        raise _settings("network-scoped alias is supported only for containers in user defined networks")
    for address in filter(None, (wanted.ipv4_address, wanted.ipv6_address)):
        _check_address(context, seen, state, address)
    return wanted


def _check_address(context: Context, seen: Seen, state: ContainerState, address: str) -> None:
    if seen.is_built_in or seen.state is None:
        raise _settings("user specified IP address is supported on user defined networks only")
    found = ipaddress.ip_address(address)
    if found.version == 6 and not seen.state.subnet6:
        raise _settings(f"no configured subnet contains the IP address {address}: the network has no IPv6")
    subnet = ipaddress.ip_network(seen.state.subnet6 if found.version == 6 else seen.state.subnet)
    if found not in subnet or found in (subnet.network_address, subnet.broadcast_address):
        raise _settings(f"no configured subnet or ip-range contain the IP address {address}")
    holders = [box for box in context.engine.list_sandboxes() if box.id != state.sandbox]
    taken = {held.get(seen.name) for box in holders for held in (box.addresses, box.addresses6)}
    if address in (seen.state.gateway, seen.state.gateway6) or address in taken:
        raise Forbidden("Address already in use")


def _settings(reason: str) -> Invalid:
    return Invalid("", "", f"invalid endpoint settings:\n{reason}")


# --- until it is so ---------------------------------------------------------------------------------


async def _change(
    context: Context, key: Key, state: ContainerState, wanted: Networks, is_so: Callable[[], bool],
    before: Networks,
) -> None:  # fmt: skip
    """What cannot be is not wanted any more: else it would be tried for ever, and hold up other changes."""

    async def undo(_why: Exception) -> None:
        if context.engine.state(state.id) is not None:
            await wishes.change(context, key, networks=_said(before), network_mode="")

    attempt = Attempt(context, key, "connect", is_so, undo, context.loop.verdict_of(key))
    await attempt.come_true(wishes.change(context, key, networks=_said(wanted), network_mode=""))


def _said(networks: Networks) -> dict[str, dict[str, Any]]:
    return {name: each.model_dump(exclude_defaults=True) for name, each in networks.items()}


def _is_wanted(context: Context, state: ContainerState, seen: Seen) -> bool:
    """Whether the engine has it on the network; a container that went meanwhile is on none."""
    now: ContainerState | None = context.engine.state(state.id)
    return now is not None and any(endpoint.network == seen.name for endpoint in now.endpoints)


def _is_on(context: Context, state: ContainerState, seen: Seen) -> bool:
    return context.engine.state(state.id) is None or _is_wanted(context, state, seen)
