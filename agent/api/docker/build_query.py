"""The query of a classic build to a build order. Pure. Each word is honoured or refused by name.

Honoured without a deed: `rm` and `forcerm`, for no step leaves a container behind.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from multidict import MultiMapping

from agent.api.docker.bodies import read_json
from agent.api.docker.build_limits import limits_of, truth
from runtime.build_steps import StepLimits
from runtime.errors import Invalid, Unsupported
from runtime.images.build.order import BuildOrder, Network
from runtime.images.reference import parse_reference

KNOWN = frozenset({
    "dockerfile", "t", "q", "nocache", "pull", "rm", "forcerm", "memory", "memswap", "cpushares", "cpuperiod",
    "cpuquota", "cpusetcpus", "cpusetmems", "buildargs", "shmsize", "squash", "labels", "networkmode",
    "platform", "target", "outputs", "cachefrom", "extrahosts", "version", "remote", "ulimits", "buildid",
    "session", "securityopt", "cgroupparent", "isolation",
})  # fmt: skip
MAX_TAGS = 64
_GIT_URL = re.compile(r"(https?://.*\.git(#.*)?$)|(git://)|(ssh://)|(github\.com/)|(git@)")


@dataclass(frozen=True, slots=True)
class BuildQuery:
    """order: without the context that comes as the body. build_id: what the client calls the build."""

    order: BuildOrder
    limits: StepLimits
    is_quiet: bool
    build_id: str

    @property
    def has_body(self) -> bool:
        return self.order.context_kind == "tar"


def read_query(query: MultiMapping[str], id: str, *, is_trusted: bool) -> BuildQuery:
    """`Invalid` and `Unsupported`, in the daemon's words where it has any."""
    _refuse(query)
    kind, context = _context(query.get("remote", ""))
    order = BuildOrder(
        id=id,
        context_kind=kind,
        context=context,
        dockerfile=query.get("dockerfile", ""),
        tags=_tags(query.getall("t", [])),
        target=query.get("target", ""),
        arguments={name: value for name, value in _object(query, "buildargs").items() if value is not None},
        labels=_object(query, "labels"),
        network=network_of(query.get("networkmode", "")),
        no_cache=truth(query, "nocache"),
        pull=truth(query, "pull"),
        platform=query.get("platform", ""),
        is_trusted=is_trusted,
        cache_from=_list(query, "cachefrom"),
    )
    return BuildQuery(order, limits_of(query), truth(query, "q"), query.get("buildid", ""))


def _refuse(query: MultiMapping[str]) -> None:
    for name in query:
        if name not in KNOWN:
            raise Invalid("read request", name[:40], "a build has no such option")
    for name in ("dockerfile", "target", "platform", "buildid"):
        if "\0" in query.get(name, ""):
            raise Invalid("read request", name, "not text")
    if truth(query, "squash"):
        raise Invalid("", "", "squash is only supported with experimental mode")
    if query.get("securityopt"):
        raise Invalid("", "", "security options are not supported on linux")
    if query.get("isolation", "") not in ("", "default"):
        raise Invalid("", "", f'unsupported isolation: "{query["isolation"][:40]}"')
    if query.get("cgroupparent"):
        raise Unsupported(
            "build image", "cgroupparent", "steps have a control group of their own", "leave it"
        )
    if query.get("version", "") not in ("", "1") or query.get("session"):
        hint = "docker buildx build, or DOCKER_BUILDKIT=0"
        raise Unsupported("build image", "version", "BuildKit's builds do not come through /build", hint)
    _refuse_outputs(query.get("outputs", ""))


def _refuse_outputs(text: str) -> None:
    if text and _json(text, "outputs"):
        hint = "leave --output out, and docker save or docker cp afterwards"
        raise Unsupported("build image", "outputs", "a build makes an image, nothing else", hint)


def _context(remote: str) -> tuple[Any, str]:
    if not remote:
        return "tar", ""
    if "\0" in remote or len(remote) > 4096:
        raise Invalid("read request", "remote", "not a URL")
    if _GIT_URL.match(remote):
        return "git", f"https://{remote}" if remote.startswith("github.com/") else remote
    if remote.startswith(("http://", "https://")):
        return "url", remote
    raise Invalid("read request", "remote", f"{remote[:80]!r} is neither a repository nor a URL of a file")


def _tags(texts: list[str]) -> tuple[str, ...]:
    if len(texts) > MAX_TAGS:
        raise Invalid("read request", "t", f"more than {MAX_TAGS} names")
    found = dict.fromkeys(text for text in texts if text)
    for text in found:
        if parse_reference(text).digest:
            raise Invalid("", "", "build tag cannot contain a digest")
    return tuple(found)


def network_of(text: str) -> Network:
    """The network of steps, of how Docker calls it."""
    match text:
        case "" | "default" | "bridge":
            return "default"
        case "none" | "host":
            return text
    hint = "default, none or host"
    raise Unsupported("build image", f"network {text[:80]}", "steps cannot join that network", hint)


# --- JSON in a query --------------------------------------------------------------------------------


def _object(query: MultiMapping[str], name: str) -> dict[str, Any]:
    """{} when it is not there. Values are strings, or None."""
    text = query.get(name, "")
    data: Mapping[str, Any] = read_json(text.encode()) if text else {}
    for key, value in data.items():
        if "\0" in key or not (value is None or (isinstance(value, str) and "\0" not in value)):
            raise Invalid("read request", name, "not an object of strings")
    if name == "labels" and None in data.values():
        raise Invalid("read request", name, "not an object of strings")
    return dict(data)


def _list(query: MultiMapping[str], name: str) -> tuple[str, ...]:
    found = _json(query.get(name, "") or "null", name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(item, str) and "\0" not in item for item in found):
        raise Invalid("read request", name, "not a list of strings")
    return tuple(found)


def _json(text: str, name: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Invalid("read request", name, "not JSON") from None
