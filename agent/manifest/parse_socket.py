"""The spec of a Socket: a way into the API that is fenced. What its words allow is in agent.api.sockets."""

from __future__ import annotations

import posixpath
import re
from typing import Any

from agent.manifest.nodes import Mapping, Node
from agent.manifest.parse_values import (
    Parser,
    boolean,
    choice,
    did_you_mean,
    duration,
    fields,
    filled,
    integer,
    items,
    number,
    size,
)
from agent.manifest.reading import Reading, Refuse
from agent.manifest.service import labels
from agent.manifest.socket_limits import limits_of
from agent.manifest.spec import Quota, Share, SocketSpec
from agent.policy.permissions import ALL, GROUPS, expanded
from agent.policy.policy import Allow
from agent.policy.read import ALLOW

MAX_PATH_BYTES = 107  # unix(7)
LEAST_MEMORY = 6 * 1024 * 1024  # that the API takes for a container
MOST, MOST_CPUS = 1_000_000, 8192.0
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


def _memory(r: Reading, node: Node) -> int:
    value = size(r, node)
    if value < LEAST_MEMORY:
        raise Refuse(f"{value} bytes start no container", "6m at least, as 512m or 4g")
    return value


def _cpus(r: Reading, node: Node) -> float:
    value = number(0.01)(r, node)
    if value > MOST_CPUS:
        raise Refuse(f"{value:g} is out of range", "processors, as 0.5 or 2")
    return value


SHARE: dict[str, Parser[Any]] = {"memory": _memory, "cpus": _cpus, "pids": integer(1, MOST)}
QUOTA: dict[str, Parser[Any]] = {
    **SHARE,
    "containers": integer(0, MOST),
    "networks": integer(0, MOST),
    "volumes": integer(0, MOST),
    "execs": integer(0, MOST),
    "each": lambda r, node: Share(**fields(r, node, SHARE)),
}


def _quota(r: Reading, node: Node) -> Quota:
    """What one container may have is not more than all of them."""
    values = fields(r, node, QUOTA)
    each = values.get("each", Share())
    for name in SHARE:
        one, all_of_them = getattr(each, name), values.get(name)
        if one is not None and all_of_them is not None and one > all_of_them:
            at = node.entries["each"].value if isinstance(node, Mapping) else node
            raise Refuse(f"each: {name} is more than all may have", f"raise {name}, or lower each.{name}", at)
    return Quota(**values)


FIELDS: dict[str, Parser[Any]] = {
    "allow": lambda r, node: items(r, node, _permission),
    "ensure": choice("present", "absent"),
    "label": _label,
    "labels": labels,
    "limits": _limits,
    "mode": _mode,
    "owner": _owner,
    "path": _path,
    "quota": _quota,
    "suspend": boolean,
    "time_to_live": _time,
}


def read_socket(r: Reading, node: Node) -> SocketSpec:
    return SocketSpec(**fields(r, node, FIELDS, required=("allow",)))
