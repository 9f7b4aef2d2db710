"""Networks as Docker shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
from typing import Any

from agent.api.docker.filters import Filters, fits_labels, flag_of
from agent.api.docker.name_patterns import fits_pattern
from agent.api.docker.network_ids import endpoint_id, network_id
from agent.api.docker.stamps import rfc3339
from agent.manifest.network_options import BRIDGE, ICC, MASQUERADE, MTU
from runtime.errors import Invalid
from runtime.model import ContainerState, NetworkState
from runtime.network.addresses import mac_of
from store.records import Key, ObjectRecord

DRIVERS = {"host": "host", "none": "null"}  # all others are bridges
DEFAULT_BRIDGE_MTU = "1500"


@dataclass(frozen=True, slots=True)
class Seen:
    """A network with all that is known of it. state None: one of the three that are always there, and that
    nothing was made for. created_at: Unix seconds."""

    name: str
    instance: str
    created_at: float
    state: NetworkState | None = None
    key: Key | None = None
    record: ObjectRecord | None = None
    is_built_in: bool = False

    @property
    def id(self) -> str:
        return network_id(self.instance, self.name)

    @property
    def driver(self) -> str:
        return DRIVERS.get(self.name, "bridge") if self.is_built_in else "bridge"

    def labels(self) -> dict[str, str]:
        labels = self.state.labels if self.state is not None else {}
        return {name: value for name, value in labels.items() if not name.startswith("setpoint.")}


def summary(seen: Seen) -> dict[str, Any]:
    """An entry of a list."""
    asked = _spec(seen).get("asked") or {}
    return {
        "Name": seen.name,
        "Id": seen.id,
        "Created": rfc3339(seen.created_at),
        "Scope": "local",
        "Driver": seen.driver,
        "EnableIPv4": True,
        "EnableIPv6": seen.state is not None and bool(seen.state.subnet6),
        "IPAM": {"Driver": "default", "Options": {}, "Config": _addresses(seen)},
        "Internal": seen.state is not None and seen.state.internal,
        "Attachable": bool(asked.get("attachable")),
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Options": _options(seen, asked.get("options") or {}),
        "Labels": seen.labels(),
    }


def inspect(seen: Seen, containers: Iterable[ContainerState]) -> dict[str, Any]:
    """All of one. containers: those that are on it now."""
    return {**summary(seen), "Containers": {each.id: _endpoint(seen, each) for each in containers}}


def _spec(seen: Seen) -> Mapping[str, Any]:
    return seen.record.spec if seen.record is not None else {}


def _addresses(seen: Seen) -> list[dict[str, Any]]:
    if (state := seen.state) is None:
        return []
    spec = _spec(seen)
    four = _config(state.subnet, state.gateway, spec)
    return [four, _config(state.subnet6, state.gateway6, spec.get("ipv6") or {})] if state.subnet6 else [four]


def _config(subnet: str, gateway: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"Subnet": subnet, "Gateway": gateway}
    for name, field in (("IPRange", "ip_range"), ("AuxiliaryAddresses", "aux_addresses")):
        if spec.get(field):
            said[name] = spec[field]
    return said


def _options(seen: Seen, asked: Mapping[str, str]) -> dict[str, str]:
    """As they were asked for; of what a manifest made, as its spec says; of the default bridge, as clients
    look for them."""
    spec = _spec(seen)
    if seen.is_built_in and seen.driver == "bridge":
        device = {BRIDGE + "name": seen.state.bridge} if seen.state is not None else {}
        return {
            BRIDGE + "default_bridge": "true", ICC: "true", BRIDGE + "enable_ip_masquerade": "true",
            BRIDGE + "host_binding_ipv4": "0.0.0.0", **device, MTU: DEFAULT_BRIDGE_MTU,
        }  # fmt: skip
    found = dict(asked)
    if spec.get("mtu") is not None:
        found.setdefault(MTU, str(spec["mtu"]))
    if spec.get("isolated"):
        found.setdefault(ICC, "false")
    if spec.get("routed"):
        found.setdefault(MASQUERADE, "false")
    if spec.get("bridge"):
        found.setdefault(BRIDGE + "name", str(spec["bridge"]))
    return found


def _endpoint(seen: Seen, state: ContainerState) -> dict[str, str]:
    address, address6 = state.addresses.get(seen.name, ""), state.addresses6.get(seen.name, "")
    prefix = seen.state.subnet.partition("/")[2] if seen.state is not None else ""
    prefix6 = seen.state.subnet6.partition("/")[2] if seen.state is not None else ""
    return {
        "Name": state.name,
        "EndpointID": endpoint_id(seen.instance, seen.name, state.id),
        "MacAddress": mac_address(state, seen.name),
        "IPv4Address": f"{address}/{prefix}" if address else "",
        "IPv6Address": f"{address6}/{prefix6}" if address6 else "",
    }


def mac_address(state: ContainerState, network: str) -> str:
    """Of a running container's interface on a network; "" where it has none."""
    address = state.addresses.get(network, "")
    if not address:
        return ""
    asked = next((each.mac for each in state.endpoints if each.network == network), None)
    return asked or _mac_of(address)


@lru_cache(4096)
def _mac_of(address: str) -> str:
    return mac_of(int(IPv4Address(address)))


# --- filters --------------------------------------------------------------------------------------

FILTERS = frozenset(("driver", "id", "label", "name", "scope", "type", "dangling"))


def fits(seen: Seen, filters: Filters, *, is_used: bool) -> bool:
    """Whether a network is what the filters ask for. is_used: a container is on it, or will be."""
    texts = {"driver": seen.driver, "scope": "local"}
    if any(filters.get(name) and text not in filters[name] for name, text in texts.items()):
        return False
    parts = {"id": seen.id, "name": seen.name}
    for name, text in parts.items():
        if filters.get(name) and not any(fits_pattern(text, wanted) for wanted in filters[name]):
            return False
    kinds = filters.get("type", ())
    if bad := next((kind for kind in kinds if kind not in ("custom", "builtin")), ""):
        raise Invalid("", "", f"invalid filter: 'type'='{bad[:40]}'")
    if kinds and ("builtin" if seen.is_built_in else "custom") not in kinds:
        return False
    dangling = flag_of(filters, "dangling")
    if dangling is not None and dangling != (not is_used and not seen.is_built_in):
        return False
    return fits_labels(seen.labels(), filters.get("label", ()))
