"""The body of a network's create call to a spec. Pure.

Every field and option is honoured or refused, in the daemon's words where it refuses the same.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from agent.api.docker.answers import Forbidden
from agent.api.docker.bodies import flag_of, list_of, map_of, text_map_of, text_of
from agent.manifest.network_options import AS_IT_IS, BRIDGE_NAME, HOST_BINDING, ICC, IPV6, MASQUERADE, MTU
from agent.manifest.spec import AskedNetwork, Ipv6, NetworkSpec
from runtime.errors import Invalid, NotFound, Unsupported
from runtime.network.link_names import check_link_name

BUILT_IN = ("bridge", "host", "none")
NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]{0,199}")
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_KNOWN = frozenset(
    (
        "Name", "CheckDuplicate", "Driver", "Scope", "Internal", "Attachable", "Ingress", "ConfigOnly",
        "ConfigFrom", "IPAM", "EnableIPv4", "EnableIPv6", "Options", "Labels",
    )
)  # fmt: skip
MAX_LABEL_BYTES = 128 * 1024
AnyNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
NO_SWARM = "cannot create a swarm scoped network when swarm is not active"


def spec_of(body: Mapping[str, Any]) -> NetworkSpec:
    """The network that is asked for. Raises Invalid, NotFound, Unsupported, Forbidden."""
    name = _name(text_of(body, "Name"))
    for field, value in body.items():
        if field not in _KNOWN and value:
            raise Invalid("read request", field[:40], "not a field of a network")
    _check_driver(text_of(body, "Driver"), text_of(body, "Scope"))
    if flag_of(body, "Ingress"):
        raise Forbidden("Ingress network can only be global scope network")
    if flag_of(body, "ConfigOnly") or text_of(map_of(body, "ConfigFrom"), "Network"):
        raise Unsupported("create network", name, "config-only networks are not to be had here")
    if not flag_of(body, "EnableIPv4", default=True):
        raise Unsupported("create network", name, "a network has IPv4 here, with IPv6 or without")
    options = text_map_of(body, "Options")
    return NetworkSpec(
        name=name,
        asked=AskedNetwork(options=options, attachable=flag_of(body, "Attachable")),
        **_said(internal=flag_of(body, "Internal"), labels=_labels(body), **_of_options(name, options)),
        **_ipam(name, map_of(body, "IPAM"), asks_ipv6=has_ipv6(body)),
    )


def _said(**fields: Any) -> dict[str, Any]:
    """Those that say something: hashes are over what is set."""
    return {name: value for name, value in fields.items() if value}


def _name(name: str) -> str:
    if not name.strip():
        raise Invalid("", "", f"invalid name: {name[:60]}")
    if name in (*BUILT_IN, "default"):
        raise Forbidden(f"operation is not permitted on predefined {name} network ")
    if not NAME.fullmatch(name):
        raise Invalid(
            "", "", f"invalid name: {name[:60]}", "letters, digits, '_', '.' and '-', 200 of them at most"
        )
    return name


def _check_driver(driver: str, scope: str) -> None:
    if driver in ("host", "null"):
        raise Forbidden(f'only one instance of "{driver}" network is allowed')
    if driver == "overlay":
        raise Forbidden(
            'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect '
            "this node to swarm and try again."
        )
    if driver in ("macvlan", "ipvlan"):
        raise Unsupported(
            "create network", driver, "bridge is the one driver here", "leave out --driver, or --network host"
        )
    if driver not in ("", "bridge"):
        raise NotFound("", "", f'plugin "{driver[:60]}" not found')
    if scope not in ("", "local"):
        raise Forbidden(NO_SWARM)


def _labels(body: Mapping[str, Any]) -> dict[str, str]:
    labels = text_map_of(body, "Labels")
    if sum(len(key) + len(value) for key, value in labels.items()) > MAX_LABEL_BYTES:
        raise Invalid("read request", "Labels", f"over {MAX_LABEL_BYTES} bytes")
    if bad := next((key for key in labels if key.startswith("setpoint.")), ""):
        raise Invalid("", "", f"label {bad[:60]}: setpoint.* is this engine's own (hint: another prefix)")
    return labels


# --- options --------------------------------------------------------------------------------------


def _of_options(name: str, options: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for option, value in options.items():
        if option == MTU:
            found["mtu"] = _mtu(value)
        elif option == ICC:
            found["isolated"] = not _flag(option, value)
        elif option == HOST_BINDING:
            _check_address(value)  # kept in `asked`, for who publishes ports on it
        elif option == MASQUERADE:
            found |= {} if _flag(option, value) else {"routed": True}
        elif option == IPV6:
            _flag(option, value)
        elif option == BRIDGE_NAME:
            found |= _bridge(value)
        elif option in AS_IT_IS:
            is_flag = "true" in AS_IT_IS[option] or "false" in AS_IT_IS[option]
            said = str(_flag(option, value)).lower() if is_flag else value
            if said not in AS_IT_IS[option]:
                raise Unsupported("create network", f"{name}: {option}={value[:40]}", "not to be had here")
        else:
            raise Unsupported(
                "create network", f"{name}: {option[:80]}", "no such option here", "leave it out"
            )
    return found


def has_ipv6(body: Mapping[str, Any]) -> bool:
    """Whether a network with IPv6 is asked for: by the field, or by the option of the same meaning."""
    options = text_map_of(body, "Options")
    return flag_of(body, "EnableIPv6") or (IPV6 in options and _flag(IPV6, options[IPV6]))


def _bridge(value: str) -> dict[str, str]:
    if value:
        check_link_name(value)
    return {"bridge": value} if value else {}


def _check_address(value: str) -> None:
    try:
        ipaddress.IPv4Address(value or "0.0.0.0")
    except ValueError:
        raise Invalid("", "", f"invalid default binding IP address: {value[:40]}") from None


def _mtu(value: str) -> int | None:
    if not (value.isascii() and value.isdigit() and len(value) <= 5):
        raise Invalid("", "", f"failed to parse {MTU} value: {value[:20]} (invalid syntax)")
    if int(value) and not 68 <= int(value) <= 65535:
        raise Invalid("", "", f"invalid MTU {value}: from 68 to 65535")
    return int(value) or None


def _flag(option: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise Invalid("", "", f"failed to parse {option} value: {value[:20]} (invalid syntax)")
    return value in _TRUE


# --- addresses ------------------------------------------------------------------------------------


def _ipam(name: str, ipam: Mapping[str, Any], *, asks_ipv6: bool) -> dict[str, Any]:
    driver, configs = text_of(ipam, "Driver"), list_of(ipam, "Config")
    if driver not in ("", "default"):
        raise NotFound("", "", f'plugin "{driver[:60]}" not found')
    if map_of(ipam, "Options"):
        raise Unsupported("create network", name, "options of the IPAM driver: it has none")
    if not all(isinstance(config, dict) for config in configs):
        raise Invalid("read request", "IPAM.Config", "not a list of objects")
    six = [config for config in configs if ":" in text_of(config, "Subnet")]
    if max(len(six), len(configs) - len(six)) > 1:
        raise Unsupported("create network", name, "one subnet of each family a network", "two networks")
    found = [_subnet(config) for config in configs]
    four = [each for each in found if ":" not in each["subnet"]]
    six = [each for each in found if ":" in each["subnet"]]
    if six and not asks_ipv6:
        raise _config(f"{six[0]['subnet']} is of IPv6, which the network is not to have (hint: EnableIPv6)")
    return (four[0] if four else {}) | ({"ipv6": Ipv6(**(six[0] if six else {}))} if asks_ipv6 else {})


def _subnet(config: Mapping[str, Any]) -> dict[str, Any]:
    text = text_of(config, "Subnet")
    try:
        subnet = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _config(f"invalid subnet {text[:60]}: invalid CIDR block notation") from None
    if "/" not in text:
        raise _config(f"invalid subnet {text[:60]}: invalid CIDR block notation")
    if _has_host_bits(text):
        raise _config(f"invalid subnet {text[:60]}: it should be {subnet}")
    gateway = text_of(config, "Gateway")
    if gateway:
        gateway = str(_within("gateway", gateway, subnet))
    return _said(
        subnet=str(subnet), gateway=gateway, ip_range=_range(config, text, subnet),
        aux_addresses={
            name: str(_within("auxiliary address", address, subnet))
            for name, address in text_map_of(config, "AuxiliaryAddresses").items()
        },
    )  # fmt: skip


def _has_host_bits(text: str) -> bool:
    """Of a subnet that is one otherwise. IPv6 has several forms of one address."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return True
    return False


def _range(config: Mapping[str, Any], whole: str, subnet: AnyNetwork) -> str:
    """ "" for one that is all of the subnet."""
    text = text_of(config, "IPRange")
    if text in ("", whole):
        return ""
    try:
        found = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise _config(f"invalid ip-range {text[:60]}: invalid CIDR block notation") from None
    if text != str(found):
        raise _config(f"invalid ip-range {text[:60]}: it should be {found}")
    if found.network_address not in subnet or found.broadcast_address not in subnet:
        raise _config(f"invalid ip-range {text}: parent subnet {subnet} doesn't contain this range")
    return text


def _within(what: str, text: str, subnet: AnyNetwork) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise _config(f"invalid {what} {text[:40]}: invalid address") from None
    if address not in subnet:
        raise _config(f"invalid {what} {text}: parent subnet {subnet} doesn't contain this address")
    return address


def _config(reason: str) -> Invalid:
    return Invalid("", "", f"invalid network config:\n{reason}")
