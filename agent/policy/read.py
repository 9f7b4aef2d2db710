"""A policy file's bytes to a Policy, with every error at its line and column. Pure.

apiVersion: setpoint/v1
kind: Policy
allow: {namespaces: [network], binds: [/srv/data, "/etc/localtime:ro"]}
projects:
  media: {below: media, devices: [/dev/dri]}
require: [no_new_privileges]
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from typing import Any

from agent.manifest.host_file import BadFile, read_one
from agent.manifest.nodes import Node
from agent.manifest.parse_values import (
    Broken,
    Parser,
    boolean,
    choice,
    fields,
    filled,
    items,
    list_of,
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
    }
    values = fields(r, node, table, required=("apiVersion", "kind"), nullable=())
    if r.errors:
        raise Broken
    allow, projects = values.get("allow", Allow()), values.get("projects", {})
    return Policy(r.file, allow, projects, values.get("require", frozenset()))


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
