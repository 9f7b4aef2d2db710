"""Networks and volumes, as compose's top-level sections and as the spec of the kinds Network and Volume."""

from __future__ import annotations

import ipaddress
from typing import Any

from agent.manifest.network_options import AS_IT_IS, BRIDGE_NAME, HOST_BINDING, ICC, MASQUERADE, MTU
from agent.manifest.nodes import Mapping, Node, Scalar
from agent.manifest.parse_values import (
    Broken,
    Parser,
    boolean,
    choice,
    fields,
    integer,
    items,
    named,
    string_map,
    text,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.service import labels, real_name
from agent.manifest.spec import Ipv6, NetworkSpec, VolumeSpec
from runtime.errors import Invalid, SetpointError
from runtime.network.addresses import BITS6, subnet_of
from runtime.network.link_names import check_link_name
from runtime.volume_options import is_bind, read_source

_AS_IT_IS = {**AS_IT_IS, HOST_BINDING: ("0.0.0.0",)}
NETWORK_DRIVERS = ("overlay", "macvlan", "ipvlan", "host", "none")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

mtu = integer(68, 65535)


def _external(r: Reading, node: Node) -> Any:
    """true, or compose's old form that holds the name."""
    if isinstance(node, Mapping):
        return fields(r, node, {"name": real_name}).get("name", True)
    return boolean(r, node)


def _driver(supported: str, others: tuple[str, ...]) -> Parser[str]:
    def parse(r: Reading, node: Node) -> str:
        value = text(r, node)
        if value in others or value not in (supported, "default", ""):
            raise Refuse(f'"{value}" is not supported yet', f"{supported} is the one there is")
        return supported if value == supported else ""

    return parse


def _subnet4(r: Reading, node: Node) -> str:
    value = _subnet(r, node)
    if ":" in value:
        raise Refuse(
            f'"{value}" is IPv6', "enable_ipv6: true, and the subnet in ipam: {config: [{subnet: …}]}"
        )
    return value


def _subnet(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        network = ipaddress.ip_network(value)
    except ValueError as error:
        raise Refuse(
            f'"{value}" is not a subnet', str(error) if "host bits" in str(error) else "such as 10.5.0.0/24"
        ) from None
    if network.version == 6:
        return _subnet6(str(network))
    if network.prefixlen > 30 or network.prefixlen < 8:
        raise Refuse(f'"{value}" is too {"small" if network.prefixlen > 30 else "large"}', "from /8 to /30")
    return str(network)


def _subnet6(value: str) -> str:
    try:
        return str(subnet_of("", value, "", BITS6))
    except Invalid as error:
        raise Refuse(error.reason, error.hint) from None


def _gateway(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        return str(ipaddress.IPv4Address(value))
    except ValueError:
        raise Refuse(f'"{value}" is not an IPv4 address') from None


def _address(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        found = ipaddress.ip_address(value)
    except ValueError:
        raise Refuse(f'"{value}" is not an address') from None
    return str(found)


def _ip_range(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        return str(ipaddress.ip_network(value))
    except ValueError:
        raise Refuse(f'"{value}" is not a range of addresses', "such as 10.5.0.128/25") from None


def _ipam_entry(r: Reading, node: Node) -> dict[str, Any]:
    table: dict[str, Parser[Any]] = {
        "subnet": _subnet,
        "gateway": _address,
        "ip_range": _ip_range,
        "aux_addresses": lambda r, node: named(r, node, _address, "name"),
    }
    return fields(r, node, table)


def _ipam(r: Reading, node: Node) -> dict[str, Any]:
    table: dict[str, Parser[Any]] = {
        "driver": _driver("default", ()),
        "config": lambda r, node: items(r, node, _ipam_entry),
    }
    configs = fields(r, node, table, lacking=("options",)).get("config", ())
    six = [each for each in configs if _is_ipv6(each)]
    four = [each for each in configs if not _is_ipv6(each)]
    if max(len(four), len(six)) > 1:
        raise Refuse("more than one subnet is not supported yet", "one of IPv4, and one of IPv6")
    return (four[0] if four else {}) | ({"ipv6": six[0]} if six else {})


def _is_ipv6(config: dict[str, Any]) -> bool:
    return ":" in str(config.get("subnet") or config.get("gateway") or config.get("ip_range") or "")


def _driver_opts(r: Reading, node: Node) -> dict[str, Any]:
    table: dict[str, Parser[Any]] = {
        MTU: mtu, ICC: boolean, BRIDGE_NAME: _bridge, MASQUERADE: boolean,
    }  # fmt: skip
    values = fields(r, node, table | {name: _so_anyway(said) for name, said in _AS_IT_IS.items()})
    result: dict[str, Any] = {"mtu": values[MTU]} if MTU in values else {}
    if BRIDGE_NAME in values:
        result["bridge"] = values[BRIDGE_NAME]
    if ICC in values:
        result["isolated"] = not values[ICC]
    if not values.get(MASQUERADE, True):
        result["routed"] = True
    return result


def _bridge(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        check_link_name(value)
    except Invalid as error:
        raise Refuse(error.reason, error.hint) from None
    r.claim("bridge_name", value, at=node)
    return value


def _so_anyway(said: tuple[str, ...]) -> Parser[str]:
    def parse(r: Reading, node: Node) -> str:
        value = text(r, node)
        if value.lower() not in said:
            raise Refuse(f'"{value}" is not supported yet', f"{said[0]} is what is so")
        return value

    return parse


def _volume_opts(r: Reading, node: Node) -> dict[str, str]:
    """A bind's device is a path as other ones are: relative to the file, or in the user's home."""
    options = string_map(r, node)
    device = options.get("device", "")
    if is_bind(options) and device and not device.startswith("/"):
        options = options | {"device": r.host_path(device)}
    try:
        read_source(options)
    except SetpointError as error:
        raise Refuse(error.reason, error.hint) from None
    return options


def _only(value: bool) -> Parser[bool]:
    def parse(r: Reading, node: Node) -> bool:
        if boolean(r, node) is not value:
            raise Refuse(f"{str(not value).lower()} is not supported yet")
        return value

    return parse


NETWORK_FIELDS: dict[str, Parser[Any]] = {
    "attachable": boolean,  # every network here is
    "driver": _driver("bridge", NETWORK_DRIVERS),
    "driver_opts": _driver_opts,
    "enable_ipv4": _only(True),
    "enable_ipv6": boolean,
    "ensure": choice("present", "absent"),
    "external": _external,
    "gateway": _gateway,
    "internal": boolean,
    "ipam": _ipam,
    "isolated": boolean,
    "labels": labels,
    "mtu": mtu,
    "name": real_name,
    "subnet": _subnet4,
    "suspend": boolean,
}
VOLUME_FIELDS: dict[str, Parser[Any]] = {
    "driver": _driver("local", ()),
    "driver_opts": _volume_opts,
    "ensure": choice("present", "absent"),
    "external": _external,
    "keep": boolean,
    "labels": labels,
    "name": real_name,
    "suspend": boolean,
}


def _read(r: Reading, node: Node, table: dict[str, Parser[Any]]) -> dict[str, Any]:
    if isinstance(node, Scalar) and node.is_null:
        return {}
    errors_before = len(r.errors)
    values = fields(r, node, table)
    if len(r.errors) > errors_before:
        raise Broken
    if isinstance(external := values.get("external"), str):
        values |= {"name": values.get("name", external), "external": True}
    return values


def read_network(r: Reading, node: Node) -> NetworkSpec:
    values = _read(r, node, NETWORK_FIELDS)
    for name in ("attachable", "enable_ipv4"):
        values.pop(name, None)
    has_ipv6 = values.pop("enable_ipv6", False)
    values = values.pop("driver_opts", {}) | values.pop("ipam", {}) | values
    _read_ipv6(values, node, has_ipv6)
    if "name" in values and not values.get("external"):
        r.claim("network_name", values["name"], at=_at(node, "name"))
    _check_ranges(values, node)
    own = (
        "subnet",
        "gateway",
        "ip_range",
        "aux_addresses",
        "internal",
        "mtu",
        "isolated",
        "routed",
        "bridge",
        "ipv6",
        "driver",
    )
    _check_external(values, node, own)
    return NetworkSpec(**values)


def read_volume(r: Reading, node: Node) -> VolumeSpec:
    values = _read(r, node, VOLUME_FIELDS)
    if "name" in values and not values.get("external"):
        r.claim("volume_name", values["name"], at=_at(node, "name"))
    _check_external(values, node, ("driver", "driver_opts", "keep"))
    return VolumeSpec(**values)


def _at(node: Node, name: str) -> Node:
    """Where a field of a mapping is."""
    assert isinstance(node, Mapping)
    return node.entries[name].value if name in node.entries else node


def _read_ipv6(values: dict[str, Any], node: Node, has_ipv6: bool) -> None:
    """What ipam says of IPv6 to a value, checked as the other family's is."""
    said = values.pop("ipv6", None)
    if not has_ipv6:
        if said is not None:
            raise Refuse(f"{said.get('subnet', 'what ipam says')} is IPv6", "enable_ipv6: true", at=node)
        return
    _check_ranges(said or {}, node)
    values["ipv6"] = Ipv6(**(said or {}))


def _check_ranges(values: dict[str, Any], node: Node) -> None:
    _check_gateway(values, node)
    _check_addresses(values, node)


def _check_gateway(values: dict[str, Any], node: Node) -> None:
    if "gateway" not in values:
        return
    if "subnet" not in values:
        raise Refuse("gateway needs a subnet")
    network, gateway = ipaddress.ip_network(values["subnet"]), ipaddress.ip_address(values["gateway"])
    if gateway not in network or gateway in (network.network_address, network.broadcast_address):
        raise Refuse(f"gateway {gateway} is not an address of {network}", at=node)


def _check_addresses(values: dict[str, Any], node: Node) -> None:
    """What is said of the addresses of a subnet lies in it."""
    said = {name: values[name] for name in ("ip_range", "aux_addresses") if values.get(name)}
    if not said:
        return
    if "subnet" not in values:
        raise Refuse(f"{next(iter(said))} needs a subnet", at=node)
    network = ipaddress.ip_network(values["subnet"])
    if "ip_range" in said and not _is_part(ipaddress.ip_network(said["ip_range"]), network):
        raise Refuse(f"ip_range {said['ip_range']} is not a part of {network}", at=node)
    for name, address in said.get("aux_addresses", {}).items():
        if ipaddress.ip_address(address) not in network:
            raise Refuse(f'aux_addresses: "{name}": {address} is not an address of {network}', at=node)


def _is_part(part: Network, whole: Network) -> bool:
    return part.network_address in whole and part.broadcast_address in whole


def _check_external(values: dict[str, Any], node: Node, own: tuple[str, ...]) -> None:
    """What is made elsewhere is not described here."""
    if values.get("external"):
        for name in own:
            if name in values:
                shown = "enable_ipv6" if name == "ipv6" else name
                raise Refuse(
                    f"external and {shown} exclude each other", "it is made elsewhere", _at(node, "external")
                )
