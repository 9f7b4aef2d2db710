"""What may be allowed at a scoped socket, and which of it each path of the API asks for: one table. Pure.

A permission is "noun:verb". `read` is every noun's reading, `write` is all; `containers` is all of one noun.
What is in neither table is refused: a path that is new is closed until somebody says what it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

VERBS: Mapping[str, tuple[str, ...]] = {
    "containers": ("read", "create", "start", "stop", "change", "remove", "attach", "exec", "copy", "commit"),
    "images": ("read", "pull", "build", "push", "change", "save", "remove"),
    "networks": ("read", "create", "connect", "remove"),
    "volumes": ("read", "create", "change", "remove"),
    "system": ("read", "events"),
}
ALL = frozenset(f"{noun}:{verb}" for noun, verbs in VERBS.items() for verb in verbs)
READ = frozenset(name for name in ALL if name.endswith(":read")) | {"system:events"}
GROUPS: Mapping[str, frozenset[str]] = {
    "read": READ,
    "write": ALL,
    **{noun: frozenset(f"{noun}:{verb}" for verb in verbs) for noun, verbs in VERBS.items()},
}
ANYBODY = ""
"""Asked for by what every client does first."""

PERMISSIONS: Mapping[tuple[str, str], str] = {
    ("GET", "/_ping"): ANYBODY,
    ("HEAD", "/_ping"): ANYBODY,
    ("GET", "/version"): ANYBODY,
    ("GET", "/info"): "system:read",
    ("GET", "/events"): "system:events",
    ("GET", "/containers/json"): "containers:read",
    ("GET", "/containers/{id}/json"): "containers:read",
    ("GET", "/containers/{id}/logs"): "containers:read",
    ("GET", "/containers/{id}/stats"): "containers:read",
    ("GET", "/containers/{id}/top"): "containers:read",
    ("GET", "/containers/{id}/changes"): "containers:read",
    ("POST", "/containers/{id}/wait"): "containers:read",
    ("POST", "/containers/create"): "containers:create",
    ("POST", "/containers/{id}/start"): "containers:start",
    ("POST", "/containers/{id}/restart"): "containers:start",
    ("POST", "/containers/{id}/unpause"): "containers:start",
    ("POST", "/containers/{id}/stop"): "containers:stop",
    ("POST", "/containers/{id}/kill"): "containers:stop",
    ("POST", "/containers/{id}/pause"): "containers:stop",
    ("POST", "/containers/{id}/update"): "containers:change",
    ("POST", "/containers/{id}/rename"): "containers:change",
    ("DELETE", "/containers/{id}"): "containers:remove",
    ("POST", "/containers/prune"): "containers:remove",
    ("POST", "/containers/{id}/attach"): "containers:attach",
    ("GET", "/containers/{id}/attach/ws"): "containers:attach",
    ("POST", "/containers/{id}/resize"): "containers:attach",
    ("POST", "/containers/{id}/exec"): "containers:exec",
    ("POST", "/exec/{id}/start"): "containers:exec",
    ("POST", "/exec/{id}/resize"): "containers:exec",
    ("GET", "/exec/{id}/json"): "containers:exec",
    ("HEAD", "/containers/{id}/archive"): "containers:copy",
    ("GET", "/containers/{id}/archive"): "containers:copy",
    ("PUT", "/containers/{id}/archive"): "containers:copy",
    ("GET", "/containers/{id}/export"): "containers:copy",
    ("POST", "/commit"): "containers:commit",
    ("GET", "/images/json"): "images:read",
    ("GET", "/images/{name}/json"): "images:read",
    ("GET", "/images/{name}/history"): "images:read",
    ("GET", "/images/search"): "images:read",
    ("GET", "/distribution/{name}/json"): "images:read",
    ("POST", "/images/create"): "images:pull",
    ("POST", "/auth"): "images:pull",
    ("POST", "/build"): "images:build",
    ("POST", "/build/cancel"): "images:build",
    ("POST", "/images/{name}/push"): "images:push",
    ("POST", "/images/{name}/tag"): "images:change",
    ("POST", "/images/load"): "images:change",
    ("GET", "/images/get"): "images:save",
    ("GET", "/images/{name}/get"): "images:save",
    ("DELETE", "/images/{name}"): "images:remove",
    ("GET", "/networks"): "networks:read",
    ("GET", "/networks/{id}"): "networks:read",
    ("POST", "/networks/create"): "networks:create",
    ("POST", "/networks/{id}/connect"): "networks:connect",
    ("POST", "/networks/{id}/disconnect"): "networks:connect",
    ("DELETE", "/networks/{id}"): "networks:remove",
    ("POST", "/networks/prune"): "networks:remove",
    ("GET", "/volumes"): "volumes:read",
    ("GET", "/volumes/{name}"): "volumes:read",
    ("POST", "/volumes/create"): "volumes:create",
    ("PUT", "/volumes/{name}"): "volumes:change",
    ("DELETE", "/volumes/{name}"): "volumes:remove",
    ("POST", "/volumes/prune"): "volumes:remove",
}
"""(method, path without its version and patterns) -> permission."""

NEVER = frozenset({
    ("POST", "/images/prune"), ("POST", "/build/prune"),  # of all images, whose ever
    ("GET", "/system/df"),  # names everybody's
    ("POST", "/session"), ("POST", "/grpc"),  # builds whose steps nobody here reads
    ("GET", "/containers/{id}/checkpoints"), ("POST", "/containers/{id}/checkpoints"),
    ("DELETE", "/containers/{id}/checkpoints/{checkpoint}"),
    ("GET", "/plugins"), ("GET", "/plugins/privileges"), ("POST", "/plugins/pull"),
    ("POST", "/plugins/create"), ("*", "/plugins/{name}"),
    *(("*", f"/{noun}{rest}") for noun in ("swarm", "nodes", "services", "tasks", "secrets", "configs")
      for rest in ("", "/{rest}")),
})  # fmt: skip
"""Paths that no scoped socket has."""


def expanded(words: Iterable[str]) -> frozenset[str]:
    """What a manifest allows, each permission by its name. ValueError names the word that is none."""
    found: set[str] = set()
    for word in words:
        noun, sign, verb = word.partition(":")
        if sign and verb == "*" and noun in VERBS:
            found |= GROUPS[noun]
        elif word in GROUPS:
            found |= GROUPS[word]
        elif word in ALL:
            found.add(word)
        else:
            raise ValueError(word)
    return frozenset(found)


def needed(method: str, path: str) -> str | None:
    """The permission that a route asks for, ANYBODY for none; None for one that is never given. path: as
    the route table has it, without a version."""
    return PERMISSIONS.get((method, path))
