"""A registries file's bytes to values, with every error at its line and column. Pure.

apiVersion: setpoint/v1
kind: Registries
registries:
  docker.io: {mirrors: [mirror.lan:5000]}
  mirror.lan:5000: {insecure: true}
  registry.example.com: {ca: /etc/ssl/example.pem, certificate: /etc/ssl/me.pem, key: /etc/ssl/me.key}
projects:
  shop: {logins: /etc/setpoint/shop.json}    # as ~/.docker/config.json; for pulls of that project

A mirror takes its own settings from its own entry.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
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
    list_of,
    named,
)
from agent.manifest.reading import Reading, Refuse
from runtime.errors import Invalid
from runtime.images.registry.endpoints import Endpoint, Registries, Registry, check_host, host_of


class BadRegistries(BadFile):
    pass


def read_registries(data: bytes, origin: str) -> Registries:
    """Raises BadRegistries. origin: the file's path, for messages."""
    return read_one(data, origin, _registries, "the file", BadRegistries)


def _registries(r: Reading, node: Node) -> Registries:
    table: dict[str, Parser[Any]] = {
        "apiVersion": choice("setpoint/v1"),
        "kind": choice("Registries"),
        "registries": lambda r, node: named(r, node, _registry, "registry"),
        "projects": lambda r, node: named(r, node, _project, "project"),
    }
    values = fields(r, node, table, required=("apiVersion", "kind"), nullable=())
    if r.errors:
        raise Broken
    said: Mapping[str, Mapping[str, Any]] = values.get("registries", {})
    projects: Mapping[str, Mapping[str, Any]] = values.get("projects", {})
    logins = {name: said["logins"] for name, said in projects.items() if "logins" in said}
    return Registries({domain: _to_registry(domain, said) for domain in said}, logins)


def _to_registry(domain: str, said: Mapping[str, Mapping[str, Any]]) -> Registry:
    mirrors = tuple(_to_endpoint(host, said) for host in said[domain].get("mirrors", ()))
    return Registry(_to_endpoint(domain, said), mirrors)


def _to_endpoint(domain: str, said: Mapping[str, Mapping[str, Any]]) -> Endpoint:
    values = said.get(domain, {})
    return replace(
        Endpoint(host_of(domain)),
        ca_file=values.get("ca", ""),
        certificate_file=values.get("certificate", ""),
        key_file=values.get("key", ""),
        is_insecure=values.get("insecure", False),
        token_hosts=tuple(values.get("token_hosts", ())),
    )


def _registry(r: Reading, node: Node) -> dict[str, Any]:
    table: dict[str, Parser[Any]] = {
        "ca": _path,
        "certificate": _path,
        "key": _path,
        "insecure": boolean,
        "mirrors": list_of(_host),
        "token_hosts": list_of(_host),
    }
    return fields(r, node, table)


def _project(r: Reading, node: Node) -> dict[str, Any]:
    return fields(r, node, {"logins": _path})


def _path(r: Reading, node: Node) -> str:
    value = filled(r, node)
    if not value.startswith("/") or "\0" in value:
        raise Refuse(f'"{value}" is not an absolute path')
    return value


def _host(r: Reading, node: Node) -> str:
    try:
        return check_host(filled(r, node))
    except Invalid as error:
        raise Refuse(f"{error.subject} is {error.reason}", error.hint) from None
