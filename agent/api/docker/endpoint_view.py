"""A container's interfaces as Docker shows them (EndpointSettings). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.api.docker.network_ids import endpoint_id, network_id
from agent.api.docker.network_view import mac_address
from agent.manifest.spec import ContainerSpec
from agent.reconcile.world import DEFAULT_BRIDGE
from runtime.model import ContainerState, EndpointConfig, NetworkState

MODES = ("host", "none")  # which Docker shows as networks of those names


def endpoints(
    instance: str, state: ContainerState, spec: ContainerSpec | None, networks: Mapping[str, NetworkState]
) -> dict[str, dict[str, Any]]:
    """By the networks' real names; {} for who shares another container's. networks: all that there are."""
    if spec is not None and spec.network_mode in MODES:
        return {spec.network_mode: _settings(instance, state, EndpointConfig(spec.network_mode), None)}
    return {
        each.network: _settings(instance, state, each, networks.get(each.network)) for each in state.endpoints
    }


def of_default_network(networks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What NetworkSettings said beside Networks until 1.51, of the default network alone: it is what most
    scripts ask for, as `{{.NetworkSettings.IPAddress}}`, and without it they are given an empty line."""
    found = networks.get(DEFAULT_BRIDGE.name, {})
    texts = ("EndpointID", "Gateway", "GlobalIPv6Address", "IPAddress", "IPv6Gateway", "MacAddress")
    return {
        "Bridge": "", "HairpinMode": False, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0,
        "SecondaryIPAddresses": None, "SecondaryIPv6Addresses": None,
        **{name: found.get(name, "") for name in texts},
        **{name: found.get(name, 0) for name in ("GlobalIPv6PrefixLen", "IPPrefixLen")},
    }  # fmt: skip


def _settings(
    instance: str, state: ContainerState, endpoint: EndpointConfig, network: NetworkState | None
) -> dict[str, Any]:
    name = endpoint.network
    is_live = state.phase in ("running", "paused")
    address = state.addresses.get(name, "") if is_live else ""
    prefix = network.subnet.partition("/")[2] if network is not None and address else "0"
    address6 = state.addresses6.get(name, "") if is_live else ""
    prefix6 = network.subnet6.partition("/")[2] if network is not None and address6 else "0"
    has_names = name not in MODES and name != DEFAULT_BRIDGE.name
    return {
        "IPAMConfig": _asked(endpoint),
        "Links": [],
        "Aliases": _aliases(state, endpoint),
        "MacAddress": mac_address(state, name) if is_live else "",
        "DriverOpts": None,
        "GwPriority": 0,
        "NetworkID": network_id(instance, name),
        "EndpointID": endpoint_id(instance, name, state.id) if address or (is_live and name in MODES) else "",
        "Gateway": network.gateway if network is not None and address else "",
        "IPAddress": address,
        "IPPrefixLen": int(prefix or 0),
        "IPv6Gateway": network.gateway6 if network is not None and address6 else "",
        "GlobalIPv6Address": address6,
        "GlobalIPv6PrefixLen": int(prefix6 or 0),
        "DNSNames": _names(state, endpoint) if has_names else [],
    }


def _asked(endpoint: EndpointConfig) -> dict[str, str] | None:
    """The addresses that were asked for, of those that the engine chose none."""
    said = {"IPv4Address": endpoint.ipv4, "IPv6Address": endpoint.ipv6}
    return {kind: address for kind, address in said.items() if address} or None


def _aliases(state: ContainerState, endpoint: EndpointConfig) -> list[str]:
    """Without those that every container has."""
    return [each for each in endpoint.aliases if each not in (state.name, state.id[:12])]


def _names(state: ContainerState, endpoint: EndpointConfig) -> list[str]:
    return list(dict.fromkeys((state.name, *endpoint.aliases, state.id[:12])))
