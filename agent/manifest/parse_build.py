"""`build:` of a service: what its image is made of. Used by `service`.

The image is named by what it is built of, so that another context, Dockerfile or argument is another image,
and rolls out like one. What `image:` says beside it is a further name.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from typing import Any

from agent.manifest.nodes import Node, Scalar
from agent.manifest.parse_values import (
    boolean,
    choice,
    fields,
    filled,
    list_of,
    matching,
    pairs,
    string_map,
    text,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import BuildSpec
from runtime.build_recipe import BUILT

_NAME = r"[a-zA-Z0-9][a-zA-Z0-9._/:-]{0,250}"
_name = matching(_NAME, "an image's name, such as shop/web:1")


def _context(r: Reading, node: Node) -> str:
    """A directory of the source: what is built is what was committed with the manifest."""
    value = filled(r, node)
    if "://" in value or value.startswith(("git@", "/", "~")):
        hint = "a directory beside the manifest, such as . or ./web"
        raise Refuse(f"{value[:80]!r} is not in the directory of the manifests", hint)
    whole = posixpath.normpath(posixpath.join(r.directory, value))
    if whole == ".." or whole.startswith("../"):
        raise Refuse(f"{value[:80]!r} is above the directory of the manifests", "move it below")
    return "" if whole == "." else whole


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


FIELDS: dict[str, Any] = {
    "args": _arguments,
    "cache_from": list_of(_name),
    "context": _context,
    "dockerfile": _file,
    "dockerfile_inline": filled,
    "labels": string_map,
    "network": choice("default", "none", "host"),
    "no_cache": boolean,
    "pull": boolean,
    "tags": list_of(_name),
    "target": text,
}
_LACKING = """
additional_contexts cache_to entitlements extra_hosts isolation platforms privileged provenance
sbom secrets shm_size ssh ulimits
"""
LACKING = frozenset(_LACKING.split())


def build(r: Reading, node: Node) -> BuildSpec:
    """Short, a context alone, or long."""
    if isinstance(node, Scalar):
        values: dict[str, Any] = {"context": _context(r, node)}
    else:
        values = fields(r, node, FIELDS, lacking=LACKING)
        if "dockerfile" in values and "dockerfile_inline" in values:
            raise Refuse("dockerfile and dockerfile_inline exclude each other", "keep one of them")
        values.setdefault("context", r.directory)
    tree = r.tree(values["context"])
    return BuildSpec(**values, **({"tree": tree} if tree else {}))


def image_of(spec: BuildSpec) -> str:
    """The name of the image that it makes. Equal builds of equal contexts have the same."""
    how = {"tags", "no_cache", "pull", "cache_from"}
    values = spec.model_dump(mode="json", exclude_defaults=True, exclude=how)
    data = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return f"{BUILT}:{hashlib.sha256(data.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"
