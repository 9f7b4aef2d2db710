"""The spec of a Socket: a way into the API that is fenced. What its words allow is in agent.api.sockets."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from agent.manifest.nodes import Node
from agent.manifest.parse_values import Parser, boolean, choice, did_you_mean, duration, fields, filled, items
from agent.manifest.reading import Reading, Refuse
from agent.manifest.service import labels
from agent.manifest.socket_limits import limits_of
from agent.manifest.spec import SocketSpec
from agent.policy.permissions import ALL, GROUPS, expanded
from agent.policy.policy import Allow
from agent.policy.read import ALLOW

MAX_PATH_BYTES = 107  # unix(7)
_OWNER = re.compile(r"[A-Za-z_0-9][A-Za-z0-9_.-]{0,31}(:[A-Za-z_0-9][A-Za-z0-9_.-]{0,31})?")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./-]{0,127}=[^\x00-\x1f\x7f]{1,256}")


def _path(r: Reading, node: Node) -> str:
    value = filled(r, node)
    if not value.startswith("/") or posixpath.normpath(value) != value or value == "/" or "\0" in value:
        raise Refuse(f'"{value[:60]}" is not an absolute path', "as /run/ci/docker.sock")
    if len(value.encode()) > MAX_PATH_BYTES:
        raise Refuse(f"is longer than {MAX_PATH_BYTES} bytes, which is the most for a socket")
    return value


def _owner(r: Reading, node: Node) -> str:
    value = filled(r, node)
    if not _OWNER.fullmatch(value):
        raise Refuse(f'"{value[:60]}" is not an owner', "USER or USER:GROUP, by name or number")
    return value


def _mode(r: Reading, node: Node) -> int:
    value = filled(r, node)
    if not re.fullmatch(r"0?[0-7]{3}", value):
        raise Refuse(f'"{value[:20]}" is not a mode', '"0660"')
    mode = int(value, 8)
    if mode & 0o002:
        raise Refuse(f'"{value}" lets everybody in', 'name a group: owner: root:ci, mode: "0660"')
    return mode


def _permission(r: Reading, node: Node) -> str:
    value = filled(r, node)
    try:
        expanded((value,))
    except ValueError:
        known = sorted(ALL | GROUPS.keys())
        raise Refuse(f'"{value[:40]}" is not a permission', did_you_mean(value, known) or "read, write, "
                     "containers:create, images:pull: `setpoint explain socket.allow`") from None  # fmt: skip
    return value


def _label(r: Reading, node: Node) -> str:
    value = filled(r, node)
    if not _LABEL.fullmatch(value):
        raise Refuse(f'"{value[:60]}" is not a label', "NAME=VALUE, as team=ci")
    if value.startswith("setpoint."):
        raise Refuse("labels that begin with setpoint. are the engine's own", "another name")
    return value


def _time(r: Reading, node: Node) -> float:
    value = duration(r, node)
    if not 1.0 <= value <= 10 * 366 * 86400:
        raise Refuse("is not a time to live", "from 1s on: 30m, 2h")
    return value


def _limits(r: Reading, node: Node) -> dict[str, Any]:
    return limits_of(Allow(**fields(r, node, ALLOW)))


FIELDS: dict[str, Parser[Any]] = {
    "allow": lambda r, node: items(r, node, _permission),
    "ensure": choice("present", "absent"),
    "label": _label,
    "labels": labels,
    "limits": _limits,
    "mode": _mode,
    "owner": _owner,
    "path": _path,
    "suspend": boolean,
    "time_to_live": _time,
}


def read_socket(r: Reading, node: Node) -> SocketSpec:
    return SocketSpec(**fields(r, node, FIELDS, required=("allow",)))
