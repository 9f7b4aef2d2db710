"""What a service says of networks and names: `networks`, `network_mode`, `extra_hosts`, `dns`, modes."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from agent.manifest.nodes import Mapping, Node, Scalar, Sequence
from agent.manifest.parse_values import (
    Broken,
    Parser,
    did_you_mean,
    fields,
    guard,
    integer,
    items,
    list_of,
    matching,
    pairs,
    text,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import Attachment

MAC = matching("([0-9A-Fa-f]{2}[:-]){5}[0-9A-Fa-f]{2}", "such as 02:42:ac:11:00:03")
HOST_NAME = r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?"
host_name = matching(HOST_NAME, "letters, digits, '-' and '.'")
domain_name = matching(HOST_NAME, "letters, digits, '-' and '.'")


def address(version: int) -> Parser[str]:
    def parse(r: Reading, node: Node) -> str:
        value = text(r, node)
        try:
            found = ipaddress.ip_address(value)
        except ValueError:
            found = None
        if found is None or found.version != version:
            raise Refuse(f'"{value}" is not an IPv{version} address')
        return str(found)

    return parse


ATTACHMENT_FIELDS: dict[str, Parser[Any]] = {
    "aliases": list_of(host_name),
    "ipv4_address": address(4),
    "ipv6_address": address(6),
    "mac_address": MAC,
    "priority": integer(-(2**31), 2**31),
}
ATTACHMENT_LACKING = ("link_local_ips", "driver_opts", "gw_priority", "interface_name")


def networks(r: Reading, node: Node) -> dict[str, Attachment]:
    if isinstance(node, Sequence):
        names = items(r, node, text)
        for name, item in zip(names, node.items, strict=True):
            r.refer("network", name, item)
        return {name: Attachment() for name in names}
    if not isinstance(node, Mapping):
        raise Refuse("needs a list or a mapping of networks")
    result: dict[str, Attachment] = {}
    is_broken = False
    for name, entry in node.entries.items():
        r.refer("network", name, entry.key)
        attachment = guard(r, entry.value, _attachment, f'"{name}": ')
        if attachment is not None:
            _claim_addresses(r, name, attachment, entry.value)
        is_broken |= attachment is None
        result[name] = attachment or Attachment()
    if is_broken:
        raise Broken
    return result


def _attachment(r: Reading, node: Node) -> Attachment:
    if isinstance(node, Scalar) and node.is_null:
        return Attachment()
    return Attachment(**fields(r, node, ATTACHMENT_FIELDS, lacking=ATTACHMENT_LACKING))


def _claim_addresses(r: Reading, name: str, attachment: Attachment, at: Node) -> None:
    if not isinstance(at, Mapping):
        return
    for field in ("ipv4_address", "ipv6_address"):
        if field in at.entries:
            r.claim("address", name, getattr(attachment, field), at=at.entries[field].value)


def _mode(words: tuple[str, ...], empty: tuple[str, ...] = ()) -> Parser[str]:
    """One of words, or service:NAME or container:NAME where words allow it; those in empty become ""."""

    def parse(r: Reading, node: Node) -> str:
        value = text(r, node)
        if value in empty:
            return ""
        kind, colon, name = value.partition(":")
        if colon and f"{kind}:" in words and name:
            r.refer("service" if kind == "service" else "container_name", name, node)
            return value
        if not colon and value in words:
            return value
        shown = [f"{word}NAME" if word.endswith(":") else word for word in (*words, *empty)]
        raise Refuse(f'"{value}" is not one of {", ".join(shown)}', did_you_mean(value, words))

    return parse


def links(r: Reading, node: Node) -> tuple[tuple[str, str], ...]:
    """`SERVICE` or `SERVICE:ALIAS`: what another service is called in this one's containers alone."""
    found = items(r, node, _link)
    assert isinstance(node, Sequence)
    for (name, _), item in zip(found, node.items, strict=True):
        r.refer("service", name, item)
    return found


def external_links(r: Reading, node: Node) -> tuple[tuple[str, str], ...]:
    """`CONTAINER` or `CONTAINER:ALIAS`, of whatever container on the same network bears the name."""
    return items(r, node, _link)


def _link(r: Reading, node: Node) -> tuple[str, str]:
    name, _, alias = text(r, node).partition(":")
    if not re.fullmatch(HOST_NAME, name) or not re.fullmatch(HOST_NAME, alias or name):
        raise Refuse(f'"{text(r, node)[:80]}" is not a link', "NAME, or NAME:WHAT-IT-IS-CALLED-HERE")
    return name, alias or name


network_mode = _mode(("none", "host", "bridge", "service:", "container:"))
pid = _mode(("host", "service:", "container:"))
ipc = _mode(("host", "none", "service:", "container:"), ("private", "shareable"))
uts = _mode(("host",))


def userns_mode(r: Reading, node: Node) -> str:
    value = text(r, node)
    if value.startswith(("auto:", "keep-id", "nomap")):
        raise Refuse(f'"{value}" is not supported', "auto or host")
    return _mode(("auto", "host"))(r, node)


def dns_address(r: Reading, node: Node) -> str:
    value = text(r, node)
    try:
        return str(ipaddress.ip_address(value))
    except ValueError:
        raise Refuse(f'"{value}" is not an address of a name server') from None


def extra_hosts(r: Reading, node: Node) -> tuple[tuple[str, str], ...]:
    """`name:address`, `name=address`, or a mapping from name to one or more addresses."""
    found: list[tuple[str, str]] = []
    if isinstance(node, Mapping):
        for name, entry in node.entries.items():
            values = entry.value.items if isinstance(entry.value, Sequence) else [entry.value]
            found += [(name, _host_address(text(r, value), value)) for value in values]
    else:
        for name, (value, item) in pairs(r, node, "=:").items():
            found.append((name, _host_address(value or "", item)))
    for name, _ in found:
        if not re.fullmatch(HOST_NAME, name):
            raise Refuse(f'"{name}" is not a host name')
    return tuple(found)


def _host_address(value: str, at: Node) -> str:
    if value == "host-gateway":
        return value
    bare = value[1:-1] if value.startswith("[") and value.endswith("]") else value
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        raise Refuse(f'"{value}" is not an address', '"name=10.0.0.1", or host-gateway', at) from None
