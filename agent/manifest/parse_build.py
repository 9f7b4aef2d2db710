"""`build:` of a service: what its image is made of. Used by `service`.

The image is named by what it is built of, so that another context, Dockerfile or argument is another image,
and rolls out like one. What `image:` says beside it is a further name.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from typing import Any

from agent.manifest import parse_cache, parse_contexts, parse_network, parse_run, parse_secrets
from agent.manifest.nodes import Node, Scalar
from agent.manifest.parse_values import (
    Parser,
    boolean,
    choice,
    fields,
    filled,
    items,
    list_of,
    matching,
    pairs,
    size,
    string_map,
    text,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import BuildSpec
from runtime.build_recipe import BUILT

_name = matching(parse_cache.NAME, parse_cache.NAME_HINT)


def _file(r: Reading, node: Node) -> str:
    value = posixpath.normpath(filled(r, node))
    if value.startswith(("/", "../")):
        raise Refuse(f"{value[:80]!r} is not in the context", "a path in the context")
    return value


def _arguments(r: Reading, node: Node) -> dict[str, str]:
    """One without a value has that of the variable of its name, and counts as not given without one."""
    found: dict[str, str] = {}
    for name, (value, _) in pairs(r, node).items():
        value = r.variables.get(name) if value is None else value
        if value is not None:
            found[name] = value
    return found


def _platform(r: Reading, node: Node) -> str:
    """The one that it runs on: an image of several is built on several machines."""
    found = items(r, node, parse_run.platform)
    if len(found) > 1:
        raise Refuse("an image is built for one platform, that of the machine it runs on", "keep one of them")
    return found[0] if found else ""


def _only(*allowed: str) -> Parser[None]:
    """Something that Setpoint's builds do not have: the word for its absence is taken, and says nothing."""

    def parse(r: Reading, node: Node) -> None:
        value = text(r, node)
        if value not in allowed:
            raise Refuse(f'"{value[:40]}" is not supported', f"{allowed[0]}, or remove it")

    return parse


def _no_entitlements(r: Reading, node: Node) -> None:
    if items(r, node, text):
        raise Refuse("no step of a build gets more rights than a container", "remove it")


FIELDS: dict[str, Parser[Any]] = {
    "additional_contexts": parse_contexts.additional_contexts,
    "args": _arguments,
    "cache_from": parse_cache.cache_from,
    "cache_to": parse_cache.cache_to,
    "context": parse_contexts.context,
    "dockerfile": _file,
    "dockerfile_inline": filled,
    "entitlements": _no_entitlements,
    "extra_hosts": parse_network.extra_hosts,
    "isolation": _only("default"),
    "labels": string_map,
    "network": choice("default", "none", "host"),
    "no_cache": boolean,
    "platforms": _platform,
    "privileged": _only("false", "no", "off"),
    "provenance": _only("false"),
    "pull": boolean,
    "sbom": _only("false"),
    "secrets": parse_secrets.secrets,
    "shm_size": size,
    "ssh": parse_secrets.ssh,
    "tags": list_of(_name),
    "target": text,
    "ulimits": parse_run.ulimits,
}


def build(r: Reading, node: Node) -> BuildSpec:
    """Short, a context alone, or long."""
    if isinstance(node, Scalar):
        values: dict[str, Any] = {"context": parse_contexts.context(r, node)}
    else:
        values = fields(r, node, FIELDS)
        if "dockerfile" in values and "dockerfile_inline" in values:
            raise Refuse("dockerfile and dockerfile_inline exclude each other", "keep one of them")
        values.setdefault("context", r.directory)
    if "platforms" in values:
        values["platform"] = values.pop("platforms")
    tree = r.tree(values["context"], values.get("dockerfile", ""))
    return BuildSpec(**values, **({"tree": tree} if tree else {}))


def image_of(spec: BuildSpec) -> str:
    """The name of the image that it makes. Equal builds of equal contexts have the same. Of secrets and ssh
    agents the ids count, so that a build which lacked one is tried again; never what or where they are."""
    how = {"tags", "no_cache", "pull", "cache_from", "cache_to", "secrets", "ssh"}
    values = spec.model_dump(mode="json", exclude_defaults=True, exclude=how)
    if given := [sorted(spec.secrets), sorted(spec.ssh)] if spec.secrets or spec.ssh else []:
        values["given"] = given
    data = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return f"{BUILT}:{hashlib.sha256(data.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
