"""What a build is asked to do. Pure values, and their JSON: they cross a pipe to the build's own process.

Secrets are in them: an order is never written to a disk, a log or an argument list.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from runtime.errors import Invalid

ContextKind = Literal["none", "directory", "tar", "git", "url", "caller"]
NamedKind = Literal["image", "directory", "tar"]
Network = Literal["default", "none", "host"]
LOCK = "lock"  # in a build's run directory: held while it is under way


@dataclass(frozen=True, slots=True)
class BuildOrder:
    """One build.

    id: 32 hex digits, which name its directories. context: a directory, the file of a tar,
    URL#REF:DIRECTORY of a repository, or the URL of a tar or of a Dockerfile alone; of the kind "caller" it
    is asked for, as far as the plan takes files of it. dockerfile: its path in the context, "" for
    Dockerfile; dockerfile_text: what it says, in place of a file. tags: names for the image. secrets: id ->
    content. ssh: id -> the path of an agent's socket on this host. epoch:
    SOURCE_DATE_EPOCH, no time in the image is later. is_trusted: root asks.
    ignore_text: what `.dockerignore` says, in place of the context's.
    asks_caller: secrets and ssh agents that are not here are asked of who ordered.
    cache_from, cache_to: images that carry a cache (`exchange`). platform "" is this machine's.
    contexts: what a Dockerfile may name beside its stages: name -> (kind, where): "image" and its reference,
    "directory" or "tar" and the path. space: of whose builds this is one: what its RUN steps leave behind, no
    build of another space finds.
    """

    id: str
    context_kind: ContextKind = "none"
    context: str = ""
    dockerfile: str = ""
    dockerfile_text: str | None = None
    tags: tuple[str, ...] = ()
    target: str = ""
    arguments: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: Network = "default"
    no_cache: bool = False
    pull: bool = False
    platform: str = ""
    secrets: Mapping[str, bytes] = field(default_factory=dict, repr=False)
    ssh: Mapping[str, str] = field(default_factory=dict)
    epoch: int | None = None
    is_trusted: bool = False
    cache_from: tuple[str, ...] = ()
    cache_to: str = ""
    asks_caller: bool = False
    ignore_text: str | None = None
    space: str = ""
    contexts: Mapping[str, tuple[NamedKind, str]] = field(default_factory=dict)


def to_json(order: BuildOrder) -> dict[str, Any]:
    """As `from_json` takes it."""
    return {
        "id": order.id, "context_kind": order.context_kind, "context": order.context,
        "dockerfile": order.dockerfile, "dockerfile_text": order.dockerfile_text, "tags": list(order.tags),
        "target": order.target, "arguments": dict(order.arguments), "labels": dict(order.labels),
        "network": order.network, "no_cache": order.no_cache, "pull": order.pull, "platform": order.platform,
        "secrets": {id: base64.b64encode(content).decode() for id, content in order.secrets.items()},
        "ssh": dict(order.ssh), "epoch": order.epoch, "is_trusted": order.is_trusted,
        "cache_from": list(order.cache_from), "cache_to": order.cache_to,
        "asks_caller": order.asks_caller, "ignore_text": order.ignore_text,
        "space": order.space, "contexts": {name: list(each) for name, each in order.contexts.items()},
    }  # fmt: skip


def from_json(data: Mapping[str, Any]) -> BuildOrder:
    """The inverse, of what a client sent, too. `Invalid` for what cannot be an order."""
    try:
        return BuildOrder(
            id=_text(data["id"]),
            context_kind=_choice(
                data.get("context_kind", "none"), ("none", "directory", "tar", "git", "url", "caller")
            ),
            context=_text(data.get("context", "")),
            dockerfile=_text(data.get("dockerfile", "")),
            dockerfile_text=None if (text := data.get("dockerfile_text")) is None else _text(text),
            tags=tuple(map(_text, data.get("tags", ()))),
            target=_text(data.get("target", "")),
            arguments=_texts(data.get("arguments", {})),
            labels=_texts(data.get("labels", {})),
            network=_choice(data.get("network", "default"), ("default", "none", "host")),
            no_cache=bool(data.get("no_cache")),
            pull=bool(data.get("pull")),
            platform=_text(data.get("platform", "")),
            secrets={
                _text(id): base64.b64decode(content, validate=True)
                for id, content in data.get("secrets", {}).items()
            },
            ssh=_texts(data.get("ssh", {})),
            cache_from=tuple(map(_text, data.get("cache_from", ()))),
            cache_to=_text(data.get("cache_to", "")),
            is_trusted=data.get("is_trusted") is True,
            asks_caller=data.get("asks_caller") is True,
            space=_text(data.get("space", "")),
            ignore_text=None if (text := data.get("ignore_text")) is None else _text(text),
            epoch=None if (epoch := data.get("epoch")) is None else _seconds(epoch),
            contexts=dict(map(_named, data.get("contexts", {}).items())),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Invalid("build image", "", f"not an order of a build: {error}") from error


def _text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise TypeError("not text")
    return value


def _texts(value: Mapping[object, object]) -> dict[str, str]:
    return {_text(key): _text(each) for key, each in value.items()}


def _named(item: tuple[object, Any]) -> tuple[str, tuple[NamedKind, str]]:
    name, (kind, where) = item
    return _text(name), (_choice(kind, ("image", "directory", "tar")), _text(where))


def _choice(value: object, choices: tuple[str, ...]) -> Any:
    if value not in choices:
        raise ValueError(f"{value!r} is none of {', '.join(choices)}")
    return value


def _seconds(value: object) -> int:
    """As an image's dates can have: up to the year 9999."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 253_402_300_799:
        raise ValueError("SOURCE_DATE_EPOCH is not a count of seconds since 1970")
    return value
