"""As much of a create call as this engine can do; the rest is named, with the reason, never just lost. Pure.

Field by field, and in lists and mappings item by item: one that is refused must not take the others along.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from runtime.errors import SetpointError

Try = Callable[[dict[str, Any]], object]
FIRST = ("NetworkMode", "Memory", "CpuQuota", "Privileged")
"""Others are only taken beside these."""


def accepted(body: Mapping[str, Any], take: Try) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body that `take` takes (it raises a SetpointError for what it refuses), and what was left out."""
    kept: dict[str, Any] = {name: body[name] for name in ("Image",) if name in body}
    left: list[str] = []
    for path, value in _fields(body):
        tried = _with(kept, path, value)
        if (reason := _refusal(take, tried)) is None:
            kept = tried
        elif isinstance(value, list | dict) and len(value) > 1:
            kept = _by_items(kept, path, value, take, left)
        else:
            left.append(f"{path[-1]} ({_shown(path, value)}): {reason}")
    return kept, tuple(left)


def _fields(body: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    host = body.get("HostConfig") or {}
    for name in sorted(host, key=lambda name: (name not in FIRST, name)):
        yield ("HostConfig", name), host[name]
    for name, value in body.items():
        if name not in ("HostConfig", "Image"):
            yield (name,), value


def _by_items(
    kept: dict[str, Any], path: tuple[str, ...], value: Any, take: Try, left: list[str]
) -> dict[str, Any]:
    """Of a list or a mapping those items that are taken."""
    taken: Any = type(value)()
    for item in value.items() if isinstance(value, dict) else value:
        more = {**taken, item[0]: item[1]} if isinstance(value, dict) else [*taken, item]
        if (reason := _refusal(take, _with(kept, path, more))) is None:
            taken = more
        else:
            left.append(f"{path[-1]} ({_shown(path, item)}): {reason}")
    return _with(kept, path, taken) if taken else kept


def _with(kept: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    if len(path) == 1:
        return {**kept, path[0]: value}
    return {**kept, path[0]: {**kept.get(path[0], {}), path[1]: value}}


def _refusal(take: Try, body: dict[str, Any]) -> str | None:
    try:
        take(body)
    except SetpointError as error:
        return error.reason
    return None


def _shown(path: tuple[str, ...], value: Any) -> str:
    """A part of it; of the environment only names, since it holds secrets."""
    if path[-1] == "Env":
        value = str(value[0] if isinstance(value, list) else value).partition("=")[0]
    text = str(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
