"""What a manifest's build is given that is in no repository: contents of secrets, sockets of ssh agents.

Read when the build begins, by `contexts`, and nowhere kept: a recipe, a spec and the store have names and
paths alone. Blocking.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from runtime.build_recipe import SecretSource
from runtime.errors import Invalid, NotFound
from runtime.syscalls import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

MAX_SECRET_BYTES = 500 * 1024  # as BuildKit has it
SSH_VARIABLE = "SSH_AUTH_SOCK"
_OP = "read secret"


def read_secrets(sources: Mapping[str, SecretSource], environment: Mapping[str, str]) -> dict[str, bytes]:
    """id -> content. environment: the variables that manifests know. `NotFound`, `Invalid`."""
    return {id: _read(id, source, environment) for id, source in sources.items()}


def find_sockets(wanted: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, str]:
    """id -> a socket's path: the one that is named, or that of the agent's own ssh agent."""
    own = environment.get(SSH_VARIABLE, "")
    for id, path in wanted.items():
        if not (path or own):
            reason = "this agent was started without an ssh agent"
            raise NotFound("find ssh agent", id, reason, f"name a socket: ssh: [{id}=/run/agent.sock]")
    return {id: path or own for id, path in wanted.items()}


def _read(id: str, source: SecretSource, environment: Mapping[str, str]) -> bytes:
    if source.environment:
        value = environment.get(source.environment)
        if value is None:
            hint = "the file of setpoint agent --env-file has them"
            raise NotFound(_OP, id, f"the agent was given no variable {source.environment}", hint)
        return value.encode("utf-8", "surrogateescape")
    try:
        return _content(id, source)
    except OSError as error:
        raise NotFound(_OP, id, f"{source.file}: {os.strerror(error.errno or 0)}", "") from error


def _content(id: str, source: SecretSource) -> bytes:
    """Of a regular file, found to be one before it is opened: a FIFO's or device's open may have effects."""
    found = _find(source)
    try:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise Invalid(_OP, id, f"{source.file} is not a regular file")
        with Path(f"/proc/self/fd/{found}").open("rb") as file:
            data = file.read(MAX_SECRET_BYTES + 1)
    finally:
        os.close(found)
    if len(data) > MAX_SECRET_BYTES:
        raise Invalid(_OP, id, f"{source.file} is longer than {MAX_SECRET_BYTES} bytes")
    return data


def _find(source: SecretSource) -> int:
    """Below the directory that a policy allows, as if that were the root: no link leads out of it."""
    flags = os.O_PATH | os.O_CLOEXEC
    if not source.below:
        return os.open(source.file, flags)
    if source.below == source.file:  # the very file is allowed, and no link in its place
        return os.open(source.file, flags | os.O_NOFOLLOW)
    root = os.open(source.below, flags | os.O_DIRECTORY)
    try:
        rest = source.file.removeprefix(source.below).lstrip("/")
        return openat2(root, rest, flags, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
    finally:
        os.close(root)
