"""A container with ids of its own: the values of it, pure.

Its root is built outside of its user namespace, by the host's root, of idmapped layers and binds; what is
made new for it (tmpfs, devices) is given to its ids here. `child` enters the user namespace at the end.
Called by `prepare`. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping

from runtime.devices import Device
from runtime.errors import Invalid, Unsupported
from runtime.mounts import Mount
from runtime.typed import Any, NamedTuple
from runtime.user_namespaces import lines

IDS = "setpoint.ids"  # annotation: the root is built outside of the user namespace that the config names
_OWNERS = ("uid", "gid")  # mount options that name one, and what they are without
_DEFAULTS: dict[str, dict[str, int]] = {"tmpfs": {"uid": 0, "gid": 0}, "devpts": {}}


class Users(NamedTuple):
    """A user namespace: ids 0 to size-1 inside are first and on outside. path: a file of it, or of what it
    owns; "" for a new one."""

    first: int
    size: int
    path: str = ""
    uid_lines: str = ""
    gid_lines: str = ""

    def outside(self, id: int) -> int:
        """`Invalid` for an id that the container has not."""
        if not 0 <= id < self.size:
            raise Invalid(
                "start", f"id {id}", f"the container has the ids 0 to {self.size - 1}",
                "take another id, or userns_mode: host",
            )  # fmt: skip
        return self.first + id


def users_of(linux: Mapping[str, Any], annotations: Mapping[str, str]) -> Users | None:
    """None without the annotation: then a user namespace is the child's own affair. `Unsupported` for more
    than one range, since owners are given by adding."""
    if IDS not in annotations:
        return None
    maps: list[list[Mapping[str, Any]]] = [linux.get(key) or [] for key in ("uidMappings", "gidMappings")]
    if maps[0] != maps[1] or len(maps[0]) != 1 or maps[0][0]["containerID"]:
        raise Unsupported("start", "user namespace", "its ids are not one range from 0", "one range for both")
    found = [each for each in linux.get("namespaces") or () if each["type"] == "user"]
    if not found:
        raise Invalid(
            "start", "user namespace", "ids without a user namespace", "list it in linux.namespaces"
        )
    only = maps[0][0]
    return Users(only["hostID"], only["size"], found[0].get("path") or "", lines(maps[0]), lines(maps[1]))


def owned_mount(mount: Mount, users: Users) -> Mount:
    """A new file system belongs to the container's root, or to whom its options name."""
    if mount.kind not in _DEFAULTS:
        return mount
    options = [option.partition("=") for option in mount.data.split(",") if option]
    owners = dict(_DEFAULTS[mount.kind])
    owners.update({name: _number(mount, value) for name, _, value in options if name in _OWNERS})
    kept = [f"{name}{sign}{value}" for name, sign, value in options if name not in _OWNERS]
    return mount._replace(
        data=",".join((*kept, *(f"{name}={users.outside(id)}" for name, id in owners.items())))
    )


def _number(mount: Mount, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise Invalid("mount", mount.target, f"{text!r} is not the number of an owner", "digits")
    return int(text)


def owned_device(device: Device, users: Users) -> Device:
    """A node keeps its mode; an owner that the container has not becomes its root."""
    uid, gid = (id if id < users.size else 0 for id in (device.uid, device.gid))
    return device._replace(uid=users.outside(uid), gid=users.outside(gid))
