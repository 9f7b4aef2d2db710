"""A policy file's bytes to a Policy, with every error at its line and column. Pure.

apiVersion: setpoint/v1
kind: Policy
allow: {namespaces: [network], binds: [/srv/data, "/etc/localtime:ro"]}
projects:
  media: {below: media, devices: [/dev/dri]}
require: [no_new_privileges]
images:
  ours: {match: [registry.example.com/shop/*], signed_by: ["-----BEGIN PUBLIC KEY-----…"]}
  hub: {match: [docker.io/*], pinned: true, minimum_age: 72h, architectures: [amd64]}
  rest: {match: ["*"], deny: true}
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any

from agent.manifest.host_file import BadFile, read_one
from agent.manifest.nodes import Mapping, Node
from agent.manifest.parse_values import (
    Broken,
    Parser,
    boolean,
    choice,
    duration,
    fields,
    filled,
    items,
    list_of,
    matching,
    named,
    text,
)
from agent.manifest.reading import Reading, Refuse
from agent.policy.policy import (
    CONFINEMENTS,
    NAMESPACES,
    REQUIREMENTS,
    Allow,
    Bind,
    ImageRule,
    Policy,
    PortRange,
    ProjectRule,
)
from runtime import security
from runtime.errors import Invalid

PORT = re.compile(r"(?:(\[[0-9a-fA-F:.]+\]|[0-9.]+):)?([0-9]{1,5})(?:-([0-9]{1,5}))?(?:/(tcp|udp|sctp))?")


class BadPolicy(BadFile):
    pass


def read_policy(data: bytes, origin: str) -> Policy:
    """Raises BadPolicy. origin: the file's path, for messages."""
    return read_one(data, origin, _policy, "a policy", BadPolicy)


def _policy(r: Reading, node: Node) -> Policy:
    table: dict[str, Parser[Any]] = {
        "apiVersion": choice("setpoint/v1"),
        "kind": choice("Policy"),
        "allow": _allow,
        "projects": lambda r, node: named(r, node, _project, "project"),
        "require": _words(*REQUIREMENTS),
        "images": _images,
    }
    values = fields(r, node, table, required=("apiVersion", "kind"), nullable=())
    if r.errors:
        raise Broken
    allow, projects = values.get("allow", Allow()), values.get("projects", {})
    return Policy(
        r.file, allow, projects, values.get("require", frozenset()), images=values.get("images", ()),
        lines=_lines(node, "allow"),
    )  # fmt: skip


def _lines(node: Node, section: str) -> dict[str, int]:
    """Where each rule of a section is written."""
    found = node.entries.get(section) if isinstance(node, Mapping) else None
    inner = found.value if found is not None else None
    entries = inner.entries if isinstance(inner, Mapping) else {}
    return {name: entry.key.line for name, entry in entries.items()}


def _words(*known: str) -> Parser[frozenset[str]]:
    return lambda r, node: frozenset(items(r, node, choice(*known)))


def _capability(r: Reading, node: Node) -> str:
    try:
        return security.normal_capability(text(r, node))
    except Invalid as error:
        raise Refuse(f'"{error.subject}" is {error.reason.replace("no such", "not a")}', error.hint) from None


def _path(value: str) -> str:
    if not value.startswith("/") or ".." in value.split("/") or "\0" in value:
        raise Refuse(f'"{value}" is not an absolute path without ".."')
    return "/" + posixpath.normpath(value).lstrip("/")


def _bind(r: Reading, node: Node) -> Bind:
    path, _, words = filled(r, node).partition(":")
    options = words.split(",") if words else []
    if unknown := set(options) - {"ro", "rw", "shared"}:
        raise Refuse(f'"{min(unknown)}" is not an option of a path', "ro, or shared")
    if "*" in path:
        raise Refuse("a path has no *: it stands for all below it")
    return Bind(_path(path), read_only="ro" in options, shared="shared" in options)


def _device(r: Reading, node: Node) -> str:
    return _path(filled(r, node))


def _port(r: Reading, node: Node) -> PortRange:
    value = text(r, node)
    found = PORT.fullmatch(value)
    if found is None:
        raise Refuse(f'"{value}" is not a range of ports', "8080, 8000-8999/tcp, 127.0.0.1:0-65535")
    address, first, last, protocol = found.groups()
    low, high = int(first), int(last or first)
    if not 0 <= low <= high <= 65535:
        raise Refuse(f'"{value}" is out of range', "ports are from 0 to 65535")
    try:
        shown = str(ipaddress.ip_address(address.strip("[]"))) if address else ""
    except ValueError:
        raise Refuse(f'"{address}" is not an address') from None
    return PortRange(low, high, shown, protocol or "")


ALLOW: dict[str, Parser[Any]] = {
    "privileged": boolean,
    "namespaces": _words(*NAMESPACES),
    "capabilities": lambda r, node: frozenset(items(r, node, _capability)),
    "devices": list_of(_device),
    "binds": list_of(_bind),
    "unconfined": _words(*CONFINEMENTS),
    "ports": list_of(_port),
    "sysctls": list_of(filled),
    "images": list_of(filled),
    "external": list_of(filled),
}


def _allow(r: Reading, node: Node) -> Allow:
    values = fields(r, node, ALLOW)
    return Allow(**values)


def _below_directory(r: Reading, node: Node) -> str:
    value = filled(r, node).strip("/")
    if not value or ".." in value.split("/") or posixpath.normpath(value) != value:
        raise Refuse(f'"{value}" is not a directory of the manifests', "as media, or sites/media")
    return value


def _project(r: Reading, node: Node) -> ProjectRule:
    values = fields(r, node, {**ALLOW, "below": _below_directory})
    below = values.pop("below", "")
    return ProjectRule(Allow(**values), below)


# --- images -----------------------------------------------------------------------------------


def _images(r: Reading, node: Node) -> tuple[ImageRule, ...]:
    """In the order in which they are written, which counts."""
    rules: dict[str, dict[str, Any]] = named(r, node, _image_rule, "rule")
    lines = (
        {name: entry.key.line for name, entry in node.entries.items()} if isinstance(node, Mapping) else {}
    )
    return tuple(ImageRule(name, line=lines[name], **values) for name, values in rules.items())


def _image_rule(r: Reading, node: Node) -> dict[str, Any]:
    table: dict[str, Parser[Any]] = {
        "match": list_of(_image_pattern),
        "deny": boolean,
        "pinned": boolean,
        "minimum_age": duration,
        "architectures": lambda r, node: frozenset(items(r, node, ARCHITECTURE)),
        "signed_by": list_of(_key),
        "identities": list_of(filled),
    }
    values = fields(r, node, table, required=("match",))
    if "identities" in values and not values.get("signed_by"):
        raise Refuse("identities say nothing without signed_by")
    if "minimum_age" in values:
        values["minimum_age_seconds"] = values.pop("minimum_age")
    return values


ARCHITECTURE = matching(r"[a-z0-9_]{1,32}", "as in an image: amd64, arm64, arm, 386, riscv64")


def _image_pattern(r: Reading, node: Node) -> str:
    """Of a host and a path: tags and digests are no part of it."""
    value = filled(r, node)
    if "@" in value or ":" in value.rpartition("/")[2] or value != value.lower():
        raise Refuse(f'"{value}" is not a host and a path', "as docker.io/library/*, without a tag")
    if value != "*" and "/" not in value:
        raise Refuse(f'"{value}" names no host', f"write {value}/*, docker.io/library/{value}, or *")
    return value


def _key(r: Reading, node: Node) -> bytes:
    from agent.policy.signatures import BadKey, read_key  # late: it is for those who ask for signatures

    try:
        return read_key(text(r, node))
    except BadKey as error:
        raise Refuse(
            f"the key {error}", "paste what is in cosign.pub as a block of lines, after `- |`"
        ) from None
