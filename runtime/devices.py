"""Device nodes of a container and the rules of its device cgroup, as values. Pure but for `look_up` and
`disk_number`.

Used by `bundle` (devices of a manifest), `cgroups` (rules) and the launch path (nodes). Standard
library only.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from runtime.errors import Invalid, NotFound
from runtime.typed import Any, NamedTuple


class Device(NamedTuple):
    """A node: kind is "c", "b" or "p"; path is absolute inside the container."""

    path: str
    kind: str
    major: int
    minor: int
    mode: int = 0o666
    uid: int = 0
    gid: int = 0


class Rule(NamedTuple):
    """One line of a device cgroup. kind "a" is all; None stands for every number."""

    allow: bool
    kind: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"

    def __str__(self) -> str:
        """As devices.allow and devices.deny of cgroup v1 take it: `c 1:3 rwm`."""
        if self.kind == "a" and self.major is None and self.minor is None:
            return "a"
        major = "*" if self.major is None else self.major
        minor = "*" if self.minor is None else self.minor
        return f"{self.kind} {major}:{minor} {self.access}"


# null, zero, full, random, urandom, tty: the OCI runtime-spec's default devices.
DEFAULT_DEVICES = (
    Device("/dev/null", "c", 1, 3),
    Device("/dev/zero", "c", 1, 5),
    Device("/dev/full", "c", 1, 7),
    Device("/dev/random", "c", 1, 8),
    Device("/dev/urandom", "c", 1, 9),
    Device("/dev/tty", "c", 5, 0),
)
# ptmx and the pseudo-terminals are not nodes of ours (they come with devpts); the cgroup still asks.
DEFAULT_RULES = (
    Rule(True, "c", None, None, "m"),
    Rule(True, "b", None, None, "m"),
    *(Rule(True, device.kind, device.major, device.minor) for device in DEFAULT_DEVICES),
    Rule(True, "c", 5, 1),  # /dev/console
    Rule(True, "c", 5, 2),  # /dev/ptmx
    Rule(True, "c", 136, None),  # /dev/pts/*
)
DEFAULT_LINKS = (
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
)
_OWN_DIRECTORIES = frozenset(("pts", "shm", "mqueue", "fd", "hugepages", ".udev", ".lxc"))
_OWN_NODES = frozenset(("console", "ptmx", "initctl", "log"))
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


def node_type(device: Device) -> int:
    """S_IFCHR, S_IFBLK or S_IFIFO."""
    return _TYPES[device.kind]


def parse_devices(devices: Iterable[Mapping[str, Any]]) -> tuple[Device, ...]:
    """The values of an OCI `linux.devices` array, with the default devices before them."""
    asked = tuple(_parse(device) for device in devices)
    paths = {device.path for device in asked}
    return tuple(device for device in DEFAULT_DEVICES if device.path not in paths) + asked


def _parse(device: Mapping[str, Any]) -> Device:
    kind, path = device["type"], device["path"]
    if kind not in _TYPES:
        raise Invalid("make device", path, f"{kind} is not a type of device", "c, u, b or p")
    if not path.startswith("/") or ".." in path.split("/"):
        raise Invalid("make device", path, "not an absolute path", "/dev/…")
    return Device(
        path, "c" if kind == "u" else kind, device.get("major", 0), device.get("minor", 0),
        device.get("fileMode", 0o666) & 0o7777, device.get("uid", 0), device.get("gid", 0),
    )  # fmt: skip


def parse_rules(rules: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """The values of OCI `linux.resources.devices`, in order; the last match counts."""
    return tuple(
        Rule(
            rule["allow"], rule.get("type") or "a", _number(rule.get("major")), _number(rule.get("minor")),
            rule.get("access") or "rwm",
        )
        for rule in rules
    )  # fmt: skip


RULE = re.compile(r"([acb]) ([0-9]{1,7}|\*):([0-9]{1,7}|\*) ([rwm]{1,3})")


def rules_of(text: str) -> tuple[Rule, ...]:
    """The rules of `c 188:* rw`. "a" is both kinds: cgroup v1 takes an `a` with numbers for every device.
    `Invalid` for what is none."""
    found = RULE.fullmatch(text)
    if found is None:
        raise Invalid(
            "allow devices", text[:60], "not a device rule", "TYPE MAJOR:MINOR ACCESS, such as c 188:* rw"
        )
    major, minor = (None if number == "*" else int(number) for number in found.group(2, 3))
    access = "".join(letter for letter in "rwm" if letter in found[4])
    kinds = ("c", "b") if found[1] == "a" else (found[1],)
    return tuple(Rule(True, kind, major, minor, access) for kind in kinds)


def disk_number(path: str, *, strict: bool) -> tuple[int, int] | None:
    """Major and minor number of a block device of the host. None when it is not there; strict: `NotFound`,
    and `Invalid` for what is none."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        if strict:
            raise NotFound("limit", path, f"no such disk: {error}", "name one as in lsblk -p") from None
        return None
    if not stat.S_ISBLK(found.st_mode):
        if strict:
            raise Invalid("limit", path, "not a block device", "name a disk, as in lsblk -p")
        return None
    return os.major(found.st_rdev), os.minor(found.st_rdev)


def _number(value: int | None) -> int | None:
    return None if value is None or value < 0 else value


def look_up(source: str, target: str, access: str = "rwm") -> tuple[tuple[Device, Rule], ...]:
    """A host device, or every device below a host directory, as nodes and rules for a container.

    Links on the host are followed. `NotFound` when it is missing, `Invalid` when it is no device.
    """
    if not access or set(access) - set("rwm"):
        raise Invalid("add device", source, f"{access!r} is not an access", "some of r, w and m")
    try:
        found = os.stat(source)
    except OSError as error:
        raise NotFound(
            "add device", source, os.strerror(error.errno or 0), "is it there on the host?"
        ) from error
    if stat.S_ISDIR(found.st_mode):
        return _look_up_all(source.rstrip("/"), target, access)
    kind = "c" if stat.S_ISCHR(found.st_mode) else "b" if stat.S_ISBLK(found.st_mode) else ""
    if not kind:
        raise Invalid("add device", source, "not a device", "a path below /dev")
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    device = Device(
        target or source, kind, major, minor, stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid
    )
    return ((device, Rule(True, kind, major, minor, access)),)


def _look_up_all(path: str, target: str, access: str) -> tuple[tuple[Device, Rule], ...]:
    found: list[tuple[Device, Rule]] = []
    for name in sorted(os.listdir(path or "/")):
        with suppress(OSError):  # a link that leads nowhere, or a node that went meanwhile
            mode = os.stat(f"{path}/{name}").st_mode
            if stat.S_ISDIR(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
                found += look_up(f"{path}/{name}", f"{target or path}/{name}", access)
    return tuple(found)


def host_devices(directory: str = "/dev") -> tuple[tuple[Device, Rule], ...]:
    """All device nodes of the host, for a privileged container; not the terminals, which are its own.
    A node that goes away meanwhile is left out."""
    found: list[tuple[Device, Rule]] = []
    for root, directories, files in os.walk(directory):
        directories[:] = sorted(set(directories) - _OWN_DIRECTORIES)
        for name in sorted(set(files) - _OWN_NODES):
            path = f"{root}/{name}"
            with suppress(NotFound, Invalid):
                if not os.path.islink(path):
                    found += look_up(path, path)
    return tuple(found)


def to_oci(devices: Sequence[Device]) -> list[dict[str, Any]]:
    """An OCI `linux.devices` array."""
    return [
        {
            "path": device.path, "type": device.kind, "major": device.major, "minor": device.minor,
            "fileMode": device.mode, "uid": device.uid, "gid": device.gid,
        }
        for device in devices
    ]  # fmt: skip


def rules_to_oci(rules: Sequence[Rule]) -> list[dict[str, Any]]:
    """An OCI `linux.resources.devices` array."""
    return [_rule_to_oci(rule) for rule in rules]


def _rule_to_oci(rule: Rule) -> dict[str, Any]:
    found: dict[str, Any] = {"allow": rule.allow, "access": rule.access}
    if rule.kind != "a":
        found["type"] = rule.kind
    if rule.major is not None:
        found["major"] = rule.major
    if rule.minor is not None:
        found["minor"] = rule.minor
    return found
