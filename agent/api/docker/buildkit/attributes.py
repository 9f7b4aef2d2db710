"""What BuildKit's client asks of the Dockerfile frontend, as a build order. Pure. Each attribute is honoured,
or refused by name with what works in its place; what only tells of the client's work tree does nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.api.docker.build_limits import hosts_of, ulimit, whole
from agent.api.docker.build_query import network_of
from agent.api.docker.buildkit.named_contexts import take_named
from runtime.build_steps import StepLimits
from runtime.errors import Invalid, Unsupported
from runtime.images.build.order import BuildOrder
from runtime.images.dockerfile.platforms import normal_platform
from runtime.images.dockerfile.problems import Mistake
from runtime.images.reference import parse_reference
from runtime.model import Ulimit
from runtime.network.names import HOST_GATEWAY

GATEWAY_SIGN = "192.0.2.254"
"""Nobody's address (RFC 5737): what clients are told the host's is. The true one is known while steps run."""
FRONTENDS = ("dockerfile.v0", "")
_ARGUMENT, _LABEL = "build-arg:", "label:"
_TOLD = ("vcs:", "local-sessionid:")  # of a provenance, and of sessions that are one here
_TOLD_ALONE = ("frontend.caps", "source", "cmdline", "image-resolve-mode", "dockerfilekey", "contextkey")
_GIT = re.compile(r"(https?://.*\.git(#.*)?$)|(git://)|(ssh://)|(github\.com/)|(git@)")
_UPLOAD = re.compile(r"https?://buildkit-session/(\w{1,128})")
_DONE_ALREADY = ("name", "push", "context", "load", "unpack", "store", "buildinfo-attrs")
_HINTS = {
    "cgroup-parent": "leave it out: steps have a control group of their own",
    "hostname": "leave it out",
    "contextsubdir": "URL#REF:DIRECTORY",
    "multi-platform": "--platform with one platform, on a machine of that kind",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """order: without the context's place. context: "" for the client's files, else what `order` says.
    upload: the id of a tar that the client sends by its session. has_own_dockerfile: the Dockerfile is the
    client's though the context is not. shared: directories of the client's beside the context: name -> what
    it calls them."""

    order: BuildOrder
    limits: StepLimits
    dockerfile: str
    upload: str = ""
    is_local: bool = True
    has_own_dockerfile: bool = False
    shared: Mapping[str, str] = field(default_factory=dict)


def read_attributes(found: Mapping[str, str], id: str, tags: tuple[str, ...], *, is_trusted: bool) -> Asked:
    """`Invalid` and `Unsupported`."""
    rest = _rest(found)
    arguments = _named(found, _ARGUMENT)
    named = take_named(rest)
    order = BuildOrder(
        id=id,
        tags=tags,
        target=rest.pop("target", ""),
        arguments=arguments,
        labels=_named(found, _LABEL),
        network=network_of(rest.pop("force-network-mode", "")),
        no_cache=_no_cache(rest.pop("no-cache", None)),
        pull=found.get("image-resolve-mode") == "pull",
        platform=_platform(rest.pop("platform", "")),
        epoch=_epoch(arguments.get("SOURCE_DATE_EPOCH", "")),
        is_trusted=is_trusted,
        cache_from=_caches(rest),
        asks_caller=True,
        contexts=named.images,
    )
    hosts = rest.pop("add-hosts", "").replace(GATEWAY_SIGN, HOST_GATEWAY)
    limits = StepLimits(
        shm_bytes=whole(rest.pop("shm-size", "") or "0", "shm-size") or None,
        ulimits=tuple(map(_ulimit, filter(None, rest.pop("ulimit", "").split(",")))),
        extra_hosts=hosts_of(filter(None, hosts.split(","))),
    )
    asked = Asked(order, limits, rest.pop("filename", "") or "Dockerfile", shared=named.shared)
    asked = _with_context(asked, rest.pop("context", ""), "dockerfilekey" in found)
    for name in rest:
        raise _refused(name)
    return asked


def _rest(found: Mapping[str, str]) -> dict[str, str]:
    """Those that are neither arguments, nor labels, nor without consequence."""
    if request := found.get("requestid"):
        raise Unsupported("build image", request[:60], "no such request", "setpoint image build --check")
    passed = (_ARGUMENT, _LABEL, *_TOLD)
    return {
        name: value
        for name, value in found.items()
        if not name.startswith(passed) and name not in _TOLD_ALONE and not _is_default(name, value)
    }


def _is_default(name: str, value: str) -> bool:
    return name == "multi-platform" and value.lower() in ("", "false", "0")


def _refused(name: str) -> Unsupported:
    if name.startswith("attest:"):
        return Unsupported(
            "build image", name[:60], "no attestations are made", "--provenance=false --sbom=false"
        )
    if name.startswith("input:"):
        hint = "--build-context NAME=DIRECTORY, or NAME=docker-image://IMAGE"
        return Unsupported("build image", name[:60], "no graph of another build is taken", hint)
    hint = _HINTS.get(name, "leave it out, or setpoint image build")
    return Unsupported("build image", name[:60], "not known to this builder", hint)


def _named(found: Mapping[str, str], prefix: str) -> dict[str, str]:
    return {name.removeprefix(prefix): value for name, value in found.items() if name.startswith(prefix)}


def _no_cache(value: str | None) -> bool:
    if value:
        hint = "--no-cache for all of it"
        raise Unsupported("build image", "--no-cache-filter", "not for some stages alone", hint)
    return value is not None


def _platform(text: str) -> str:
    if not text:
        return ""
    if "," in text:
        hint = "one build for each, on a machine of that kind"
        raise Unsupported("build image", f"--platform {text[:60]}", "one platform a build", hint)
    try:
        return normal_platform(text)
    except Mistake as mistake:
        raise Invalid("build image", f"--platform {text[:60]}", mistake.text, mistake.hint) from None


def _epoch(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or int(text) > 253_402_300_799:
        raise Invalid("build image", "SOURCE_DATE_EPOCH", f"{text[:40]!r} is no count of seconds since 1970")
    return int(text)


def _caches(rest: dict[str, str]) -> tuple[str, ...]:
    """Images that carry a cache: of cache-from, and of cache-imports in its place."""
    names = [name for name in rest.pop("cache-from", "").split(",") if name]
    text = rest.pop("cache-imports", "")
    try:
        found: Any = json.loads(text or "[]")
        names += [_cache_of(entry) for entry in found]
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError):
        raise Invalid("build image", "--cache-from", "not a list of caches") from None
    for name in names:
        parse_reference(name)
    return tuple(dict.fromkeys(names))


def _cache_of(entry: Mapping[str, Any]) -> str:
    if entry["Type"] != "registry":
        hint = "--cache-from type=registry,ref=NAME"
        raise Unsupported(
            "build image", f"--cache-from type={str(entry['Type'])[:40]}", "not known here", hint
        )
    return str(entry["Attrs"]["ref"])


def _ulimit(text: str) -> Ulimit:
    """`nofile=1024:2048`."""
    name, _, values = text.partition("=")
    soft, _, hard = values.partition(":")
    return ulimit(name, whole(soft, "ulimit", -1), whole(hard or soft, "ulimit", -1))


def _with_context(asked: Asked, context: str, has_key: bool) -> Asked:
    if not context:
        return asked
    if match := _UPLOAD.fullmatch(context):
        return replace(asked, upload=match[1], is_local=False, has_own_dockerfile=has_key)
    if _GIT.match(context):
        url = f"https://{context}" if context.startswith("github.com/") else context
        order = replace(asked.order, context_kind="git", context=url)
    elif context.startswith(("http://", "https://")):
        order = replace(asked.order, context_kind="url", context=context)
    else:
        raise Invalid("build image", context[:80], "neither a repository nor a URL of a file")
    return replace(asked, order=order, is_local=False, has_own_dockerfile=has_key)


# --- what it is to become ---------------------------------------------------------------------------


def read_exporters(exporters: list[tuple[str, dict[str, str]]]) -> tuple[str, ...]:
    """The canonical names of the image. `Unsupported` for all that is no image in this store."""
    names: list[str] = []
    for kind, attributes in exporters:
        if kind not in ("moby", "image", "docker"):
            hint = "leave --output out, and docker save or docker cp afterwards"
            raise Unsupported("build image", f"--output type={kind[:40]}", "a build makes an image", hint)
        for name, value in attributes.items():
            _check_exporter(name, value)
        names += [name for name in attributes.get("name", "").split(",") if name]
    references = [parse_reference(name) for name in names]
    for reference in references:
        if reference.digest:
            raise Invalid("build image", reference.familiar, "a new name has no digest", "write NAME:TAG")
    return tuple(dict.fromkeys(reference.canonical for reference in references))


def _check_exporter(name: str, value: str) -> None:
    """push is the client's to do after the build; the image is in the store by any word for that."""
    is_off = value.lower() in ("", "false", "0")
    if name in _DONE_ALREADY or is_off:
        return
    if name == "compression" and value == "gzip":
        return
    hint = "leave it out of --output"
    raise Unsupported("build image", f"--output {name[:40]}={value[:40]}", "not known here", hint)


def check_cache_exports(exports: list[tuple[str, dict[str, str]]]) -> None:
    """inline does nothing: every image's cache stays on this host. For others a registry may carry it."""
    for kind, _ in exports:
        if kind != "inline":
            hint = "setpoint image build --cache-to NAME pushes a cache"
            raise Unsupported("build image", f"--cache-to type={kind[:40]}", "not known here", hint)
