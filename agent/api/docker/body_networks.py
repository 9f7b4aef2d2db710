"""The networks, ports and names of a create call, to the fields of a spec. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any

from agent.api.docker.bodies import flag_of, map_of, text_of, texts_of, whole_of
from agent.manifest.spec import Attachment, Port
from runtime.errors import Invalid, Unsupported
from runtime.network.addresses import check_mac
from runtime.network.names import is_name
from runtime.network.ports import check_address6

Named = Callable[[str], str]  # a reference as clients say it -> what the spec calls it
DEFAULT_MODES = ("", "default", "bridge")
MAX_EXPOSED = 3 * 65535  # all that there are


def network_of(
    config: Mapping[str, Any], host: Mapping[str, Any], networking: Mapping[str, Any],
    network: Named, container: Named,
) -> dict[str, Any]:  # fmt: skip
    """network_mode, or networks with how it is on each."""
    mode = "none" if flag_of(config, "NetworkDisabled") else text_of(host, "NetworkMode")
    endpoints = _endpoints_of(networking)
    if mode in ("host", "none"):
        return {"network_mode": mode}
    if mode.startswith("container:"):
        if config.get("Hostname"):
            raise Invalid("", "", "conflicting options: hostname and the network mode")
        return {"network_mode": f"container:{container(mode.partition(':')[2])}"}
    others = {name: value for name, value in endpoints.items() if name not in DEFAULT_MODES}
    if mode in DEFAULT_MODES and not others:
        return {"network_mode": "bridge", **_on_default(endpoints, config)}
    first = {} if mode in DEFAULT_MODES else {network(mode): attachment_of(others.pop(mode, None), config)}
    return {"networks": first | {network(name): attachment_of(value, {}) for name, value in others.items()}}


def _endpoints_of(networking: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Checked whatever the mode is: some of what they say is read in each."""
    endpoints = map_of(networking, "EndpointsConfig")
    return {name: map_of(endpoints, name) for name in endpoints}


def _on_default(endpoints: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """How it is on the default network, if anything is said of that: a hardware address."""
    for value in endpoints.values():
        _refuse_on_default(value)
    found = attachment_of(next(iter(endpoints.values()), None), config)
    return {"networks": {"bridge": found}} if found.mac_address else {}


def _refuse_on_default(value: Mapping[str, Any]) -> None:
    if texts_of(value, "Aliases"):
        raise Invalid(
            "", "", "network-scoped aliases are only supported for user-defined networks",
            "docker network create, and --network",
        )  # fmt: skip
    ipam = map_of(value, "IPAMConfig")
    if text_of(ipam, "IPv4Address") or text_of(ipam, "IPv6Address"):
        raise Invalid(
            "", "", "user specified IP address is supported on user defined networks only",
            "docker network create, and --network",
        )  # fmt: skip


def attachment_of(value: Any, config: Mapping[str, Any] | None = None) -> Attachment:
    """An EndpointSettings. config: where older clients say the address of the first network's card, {} for
    another one of a create call, None for a container that is there."""
    value = {} if value is None else value
    if not isinstance(value, dict):
        raise Invalid("read request", "EndpointsConfig", "not an object of objects")
    if map_of(value, "DriverOpts"):
        raise Unsupported("connect", "DriverOpts", "an endpoint has none here", "leave it out")
    if config is None and texts_of(value, "Links"):
        raise Unsupported("connect", "Links", "said when the container is created, here", "use Aliases")
    ipam = map_of(value, "IPAMConfig")
    if texts_of(ipam, "LinkLocalIPs"):
        raise Unsupported("connect", "IPAMConfig", "more link-local addresses are not to be had here yet")
    address, address6 = text_of(ipam, "IPv4Address"), text_of(ipam, "IPv6Address")
    try:
        address = str(ipaddress.IPv4Address(address)) if address else ""
    except ValueError:
        raise Invalid("", "", f"invalid IPv4 address: {address[:40]}") from None
    try:
        address6 = str(ipaddress.IPv6Address(address6)) if address6 else ""
    except ValueError:
        raise Invalid("", "", f"invalid IPv6 address: {address6[:40]}") from None
    return Attachment(
        aliases=texts_of(value, "Aliases"),
        ipv4_address=address,
        ipv6_address=address6,
        mac_address=_mac(text_of(value, "MacAddress") or text_of(config or {}, "MacAddress")),
        priority=whole_of(value, "GwPriority"),
    )


def _mac(text: str) -> str:
    try:
        if text:
            check_mac("", text)
    except Invalid:
        raise Invalid("", "", f"invalid MAC address {text[:40]}") from None
    return text


# --- ports ----------------------------------------------------------------------------------------


def first_of(networks: Mapping[str, Attachment]) -> str:
    """The network whose way out is the container's, "" for none of its own."""
    return min(networks, key=lambda name: (-networks[name].priority, name), default="")


def ports_of(host: Mapping[str, Any], exposed: Sequence[str], address: str = "") -> tuple[Port, ...]:
    """PortBindings, and with PublishAllPorts the exposed ones on ports that the engine picks. address: where
    those are that name none."""
    found = []
    bindings = map_of(host, "PortBindings")
    for name, items in bindings.items():
        target, protocol = port_of(name)
        found += [_binding(item, target, protocol, address) for item in items or [{}]]
    if flag_of(host, "PublishAllPorts"):
        found += [
            Port(target=target, protocol=protocol, **({"host_ip": address} if address else {}))
            for name in exposed
            if name not in bindings
            for target, protocol in [port_of(name)]
        ]
    return tuple(found)


def port_of(text: str) -> tuple[int, str]:
    """ "80/tcp"."""
    number, _, protocol = text.partition("/")
    protocol = protocol or "tcp"
    if protocol not in ("tcp", "udp", "sctp"):
        raise Invalid("", "", f"Invalid proto: {protocol[:20]}")
    return _number(number, text, least=1), protocol


def _number(text: str, whole: str, *, least: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and least <= int(text) <= 65535):
        raise Invalid("", "", f"invalid port specification: {whole[:40]!r}")
    return int(text)


def _binding(item: Any, target: int, protocol: str, default: str) -> Port:
    if not isinstance(item, dict):
        raise Invalid("read request", "PortBindings", "not an object of lists of objects")
    address, text = text_of(item, "HostIp"), text_of(item, "HostPort")
    try:
        address = str(ipaddress.ip_address(address.strip("[]"))) if address else default
    except ValueError:
        raise Invalid("", "", f"invalid HostIp: {address[:40]}") from None
    if ":" in address:
        check_address6("HostIp", address)
    numbers = _host_ports(text)
    return Port(target=target, protocol=protocol, host_ip=address, **numbers)


def _host_ports(text: str) -> dict[str, int]:
    """ "8080"; "8000-8010", of which a free one is taken; "" and "0" for any."""
    first, sign, last = text.partition("-")
    published = _number(first, text, least=1 if sign else 0) if text else 0
    end = _number(last, text, least=1) if sign else published
    if end < published:
        raise Invalid("", "", f"invalid port specification: {text[:40]!r}")
    found = {"published": published} if published else {}
    return found | ({"published_last": end} if end != published else {})


def exposed_of(
    config: Mapping[str, Any], host: Mapping[str, Any], image_ports: Sequence[str]
) -> tuple[str, ...]:
    """ "80/tcp" of all that the container, what it publishes and its image name."""
    exposed = (each for text in map_of(config, "ExposedPorts") for each in _range_of(text))
    names = [*islice(exposed, MAX_EXPOSED + 1), *map_of(host, "PortBindings"), *image_ports]
    if len(names) > MAX_EXPOSED:
        raise Invalid("", "", f"more than {MAX_EXPOSED} exposed ports")
    return tuple(dict.fromkeys("{}/{}".format(*port_of(name)) for name in names))


def _range_of(text: str) -> list[str]:
    """ "3000-3002/tcp", which compose sends as its file has it: one a port."""
    numbers, sign, protocol = text.partition("/")
    first, to, last = numbers.partition("-")
    if not to:
        return [text]
    least, most = _number(first, text, least=1), _number(last, text, least=1)
    if most < least:
        raise Invalid("", "", f"invalid port specification: {text[:40]!r}")
    return [f"{number}{sign}{protocol}" for number in range(least, most + 1)]


def extra_hosts_of(host: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    found = []
    for text in texts_of(host, "ExtraHosts"):
        name, sign, address = text.partition(":") if "=" not in text else text.partition("=")
        if not (name and sign):
            raise Invalid("", "", f"bad format for add-host: {text[:100]!r}")
        if address != "host-gateway":
            try:
                address = str(ipaddress.ip_address(address.strip("[]")))
            except ValueError:
                raise Invalid("", "", f"invalid IP address in add-host: {address[:40]!r}") from None
        found.append((name, address))
    return tuple(found)


def dns_of(host: Mapping[str, Any]) -> dict[str, Any]:
    for address in texts_of(host, "Dns"):
        try:
            ipaddress.ip_address(address)
        except ValueError:
            raise Invalid("", "", f"{address[:40]} is not an ip address") from None
    fields = (("dns", "Dns"), ("dns_search", "DnsSearch"), ("dns_opt", "DnsOptions"))
    return {field: texts_of(host, name) for field, name in fields if texts_of(host, name)}


def links_of(
    host: Mapping[str, Any], networking: Mapping[str, Any], container: Named
) -> tuple[tuple[str, str], ...]:
    """(container, what it is called in this one) of Links, those of the networks too. Names alone: variables,
    which told what a link led to before there were names, are not made."""
    endpoints = _endpoints_of(networking).values()
    said = [*texts_of(host, "Links"), *(text for each in endpoints for text in texts_of(each, "Links"))]
    mode = text_of(host, "NetworkMode")
    if said and (mode == "host" or mode.startswith("container:")):
        kind = "host" if mode == "host" else "container"
        raise Invalid("", "", f"conflicting options: {kind} type networking can't be used with links")
    return tuple(dict.fromkeys(_link(text, container) for text in said))


def _link(text: str, container: Named) -> tuple[str, str]:
    name, sign, alias = text.partition(":")
    alias = (alias if sign else name).rpartition("/")[2]
    if not name or not is_name(alias):
        raise Invalid("", "", f"bad format for links: {text[:100]}")
    return container(name.removeprefix("/")), alias
