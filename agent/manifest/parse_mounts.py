"""Mounts of a container: `volumes` short and long, `tmpfs`, `devices`.

    [SOURCE:]TARGET[:OPTION,OPTION]       "data:/var/lib/db", "./conf:/etc/app:ro", "/anonymous"

A source that starts with `.`, `/` or `~` is a path on the host, any other one a volume's name.
"""

from __future__ import annotations

import posixpath
from typing import Any

from agent.manifest.nodes import Mapping, Node
from agent.manifest.parse_values import (
    Parser,
    boolean,
    choice,
    fields,
    filled,
    items,
    octal,
    one_or_list,
    size,
    text,
)
from agent.manifest.parse_values import to_size as parse_size
from agent.manifest.reading import Reading, Refuse
from agent.manifest.spec import Device, Mount

RECURSIVE = ("enabled", "disabled", "writable", "readonly")  # of the mounts below a bind
PROPAGATIONS = ("rprivate", "private", "rshared", "shared", "rslave", "slave")
NO_EFFECT = frozenset(("z", "Z", "cached", "delegated", "consistent"))
_TMPFS_FLAGS = """
ro rw noexec exec nosuid suid nodev dev sync async dirsync mand nomand noatime atime nodiratime
diratime relatime norelatime strictatime nostrictatime nr_inodes nr_blocks mpol uid gid huge
"""
TMPFS_FLAGS = frozenset(_TMPFS_FLAGS.split())
SHORT_HINT = 'SOURCE:TARGET[:ro], such as "data:/var/lib/app" or "./conf:/etc/app:ro"'


def volumes(r: Reading, node: Node) -> tuple[Mount, ...]:
    return items(r, node, _entry)


def _entry(r: Reading, node: Node) -> Mount:
    mount = _long(r, node) if isinstance(node, Mapping) else _short(r, node)
    if mount.type == "volume" and mount.source:
        r.refer("volume", mount.source, node)
    return mount


def _short(r: Reading, node: Node) -> Mount:
    value = text(r, node)
    parts = value.split(":")
    if len(parts) > 3 or not all(parts):
        raise Refuse(f'"{value}" is not a volume', SHORT_HINT)
    if len(parts) == 1:
        return Mount(type="volume", target=container_path(parts[0]))
    values = _options(r, node, parts[2]) if len(parts) == 3 else {}
    source, target = parts[0], container_path(parts[1])
    if source[0] in "./~":
        if values.pop("no_copy", False):
            raise Refuse("nocopy is for volumes, and this is a bind mount")
        return Mount(type="bind", source=r.host_path(source), target=target, **values)
    if "propagation" in values:
        raise Refuse("propagation is for bind mounts, and this is a volume")
    return Mount(type="volume", source=source, target=target, **values)


def _options(r: Reading, node: Node, value: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option in value.split(","):
        if option in ("ro", "rw"):
            values["read_only"] = option == "ro"
        elif option == "nocopy":
            values["no_copy"] = True
        elif option in PROPAGATIONS:
            values["propagation"] = option
        elif option in NO_EFFECT:
            r.warn(node, f'volume option "{option}" has no effect here')
        else:
            raise Refuse(
                f'"{option}" is not a volume option', "ro, rw, nocopy, or a propagation such as rslave"
            )
    return values


def container_path(value: str) -> str:
    """An absolute path inside the container, normalised."""
    if not value.startswith("/"):
        raise Refuse(f'target "{value}" is not an absolute path', "it starts with /")
    if "\0" in value:
        raise Refuse("target holds a NUL byte")
    path = "/" + posixpath.normpath(value).lstrip("/")
    if path == "/":
        raise Refuse("target is /, the container's root itself")
    return path


def _target(r: Reading, node: Node) -> str:
    return container_path(text(r, node))


# --- the long form ----------------------------------------------------------------------------


def _section(table: dict[str, Parser[Any]], lacking: tuple[str, ...]) -> Parser[dict[str, Any]]:
    return lambda r, node: fields(r, node, table, lacking=lacking)


def _no_effect(r: Reading, node: Node) -> str:
    value = text(r, node)
    r.warn(node, f'"{value}" has no effect here')
    return value


LONG_FIELDS: dict[str, Parser[Any]] = {
    "type": choice("bind", "volume", "tmpfs"),
    "source": filled,
    "target": _target,
    "read_only": boolean,
    "consistency": _no_effect,
    "bind": _section(
        {
            "propagation": choice(*PROPAGATIONS),
            "create_host_path": boolean,
            "selinux": _no_effect,
            "recursive": choice(*RECURSIVE),
        },
        (),
    ),
    "volume": _section({"nocopy": boolean, "subpath": filled}, ("labels",)),
    "tmpfs": _section({"size": size, "mode": octal}, ()),
}
SECTIONS = {"propagation": "propagation", "create_host_path": "create_host_path", "nocopy": "no_copy"} | {
    "subpath": "subpath",
    "size": "size_bytes",
    "mode": "mode",
    "recursive": "recursive",
}


def _long(r: Reading, node: Mapping) -> Mount:
    values = fields(r, node, LONG_FIELDS, lacking=("image",), required=("type", "target"))
    kind = values["type"]
    values.pop("consistency", None)
    for section in ("bind", "volume", "tmpfs"):
        options = values.pop(section, None)
        if options is None:
            continue
        if section != kind:
            raise Refuse(f'"{section}" options do not go with type {kind}', at=node.entries[section].key)
        values |= {SECTIONS[name]: value for name, value in options.items() if name in SECTIONS}
    if values.get("recursive") == "enabled":  # as it is
        del values["recursive"]
    _check_source(r, node, kind, values)
    return Mount(**values)


def _check_source(r: Reading, node: Mapping, kind: str, values: dict[str, Any]) -> None:
    source = values.get("source")
    if kind == "bind":
        if source is None:
            raise Refuse("source is missing", "a bind mount needs a path on the host")
        values["source"] = r.host_path(source)
    elif kind == "tmpfs" and source is not None:
        raise Refuse("a tmpfs has no source", at=node.entries["source"].key)
    elif source is not None and source[0] in "./~":
        raise Refuse(
            f'"{source}" is not a volume name', 'a path needs "type: bind"', node.entries["source"].value
        )
    if (subpath := values.get("subpath")) and (subpath.startswith("/") or ".." in subpath.split("/")):
        raise Refuse(f'subpath "{subpath}" leads out of the volume')


# --- tmpfs and devices ------------------------------------------------------------------------


def _tmpfs_entry(r: Reading, node: Node) -> Mount:
    path, _, option_text = text(r, node).partition(":")
    values: dict[str, Any] = {"type": "tmpfs", "target": container_path(path)}
    others: list[str] = []
    for option in filter(None, option_text.split(",")):
        name, _, value = option.partition("=")
        if name == "size":
            values["size_bytes"] = parse_size(value)
        elif name == "mode":
            values["mode"] = _octal_text(value)
        elif option == "ro":
            values["read_only"] = True
        elif name in TMPFS_FLAGS:
            others.append(option)
        else:
            raise Refuse(f'"{option}" is not a tmpfs option', "such as size=64m,mode=1777,noexec")
    if others:
        values["options"] = tuple(others)
    return Mount(**values)


def _octal_text(value: str) -> int:
    try:
        mode = int(value, 8)
    except ValueError:
        mode = -1
    if not 0 <= mode <= 0o7777:
        raise Refuse(f'"{value[:20]}" is not a file mode', "octal digits, such as 1777")
    return mode


tmpfs: Parser[tuple[Mount, ...]] = one_or_list(_tmpfs_entry)


def _device(r: Reading, node: Node) -> Device:
    if isinstance(node, Mapping):
        table = {"source": _device_path, "target": _target, "permissions": _access}
        values = fields(r, node, table, required=("source",))
        return Device(**({"target": values["source"]} | values))
    parts = text(r, node).split(":")
    source = _check_device_path(parts[0])
    if len(parts) == 1:
        return Device(source=source, target=source)
    if len(parts) == 2 and not parts[1].startswith("/"):
        return Device(source=source, target=source, permissions=_check_access(parts[1]))
    if len(parts) > 3:
        raise Refuse(
            f'"{":".join(parts)}" is not a device', '"/dev/x", "/dev/x:/dev/y" or "/dev/x:/dev/y:rw"'
        )
    access = {"permissions": _check_access(parts[2])} if len(parts) == 3 else {}
    return Device(source=source, target=container_path(parts[1]), **access)


def _device_path(r: Reading, node: Node) -> str:
    return _check_device_path(text(r, node))


def _check_device_path(value: str) -> str:
    if "=" in value and not value.startswith("/"):
        raise Refuse(f'CDI device "{value}" is not supported yet')
    return container_path(value)


def _access(r: Reading, node: Node) -> str:
    return _check_access(text(r, node))


def _check_access(value: str) -> str:
    if not value or set(value) - set("rwm") or len(set(value)) != len(value):
        raise Refuse(f'"{value}" is not a set of device permissions', "some of r, w, m")
    return value


def devices(r: Reading, node: Node) -> tuple[Device, ...]:
    return items(r, node, _device)
