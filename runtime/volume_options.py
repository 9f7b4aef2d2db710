"""What the options of a local volume ask to have mounted: Docker's `type`, `o` and `device`. Pure.

    type: none   o: bind                device: /srv/data      a directory of the host
    type: tmpfs  o: size=64m,uid=1000   device: tmpfs          memory
    type: ext4   o: noatime             device: /dev/sdb1      a disk's file system

Read by the manifest's parser, the API and the policy, and by `volume_mounts` when it is mounted. Every
word is understood or refused: one that a file system takes for the name of another device would be a way
around the policy.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from runtime.errors import Invalid, Unsupported

NAMES = ("type", "o", "device", "size")
_NEEDS = {"o": ("device", "type"), "type": ("device",), "device": ("type",)}
FILE_SYSTEMS = (
    "ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "vfat", "exfat", "iso9660", "udf", "squashfs", "erofs",
)  # fmt: skip
_SERVED = frozenset(("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "9p"))
_BINDS = ("bind", "rbind")
# Of every mount: mount_setattr(2). Of a whole file system: its own flags.
_ATTRIBUTES = frozenset(
    ("ro", "rw", "nosuid", "suid", "nodev", "dev", "noexec", "exec", "noatime", "relatime", "strictatime",
     "nodiratime", "diratime", "nosymfollow", "symfollow")
)  # fmt: skip
_OF_FILE_SYSTEMS = frozenset(("sync", "async", "dirsync", "lazytime", "nolazytime"))
_NO_EFFECT = frozenset(("defaults", "private", "rprivate"))
_PROPAGATIONS = frozenset(("shared", "rshared", "slave", "rslave", "unbindable", "runbindable"))
# Of mount(8), fstab(5) or a loop device: the kernel knows none of them.
_NOT_THE_KERNELS = frozenset(
    ("remount", "move", "loop", "offset", "sizelimit", "user", "users", "nouser", "auto", "noauto", "nofail",
     "_netdev", "owner", "group")
)  # fmt: skip
# Of ext4, xfs, btrfs, erofs: what they read besides `device`.
_OTHER_DEVICES = frozenset(("journal_path", "journal_dev", "logdev", "rtdev", "device", "domain_id", "fsid"))
MAX_BYTES = 4096


@dataclass(frozen=True, slots=True)
class VolumeSource:
    """What is mounted. device: a path of the host, "" for memory. attributes: words of the mount; data: words
    of the file system."""

    kind: Literal["bind", "tmpfs", "device"]
    file_system: str = ""
    device: str = ""
    recursive: bool = False
    attributes: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    @property
    def is_read_only(self) -> bool:
        """The last word counts, as for mount(8)."""
        said = [word for word in self.attributes if word in ("ro", "rw")]
        return bool(said) and said[-1] == "ro"

    def to_oci(self, below: str = "") -> dict[str, Any]:
        """As an OCI mount. below: the directory that a bind's links must not lead out of, "" for none."""
        if self.kind != "bind":
            return {"destination": "/", "type": self.file_system, "source": self.device or self.file_system,
                    "options": [*self._guards(), *self.attributes, *self.data]}  # fmt: skip
        source, options = self.device, ["rbind" if self.recursive else "bind", "rprivate", *self.attributes]
        if self.is_read_only:
            options.append("rro")  # what is mounted below it, too
        if below and source != below:
            options.append(f"x-setpoint.subpath={source.removeprefix(below.rstrip('/') + '/')}")
            source = below
        return {"destination": "/", "type": "bind", "source": source, "options": options}

    def _guards(self) -> tuple[str, ...]:
        """A disk may have been written by anybody; "dev" and "suid" in `o` say that this one was not."""
        return ("nosuid", "nodev") if self.kind == "device" else ()


def read_source(options: Mapping[str, str]) -> VolumeSource | None:
    """None for a plain volume, which has no options. Raises Invalid, Unsupported."""
    if not options:
        return None
    _check_names(options)
    kind, device = options.get("type", ""), options.get("device", "")
    if "type" not in options:  # a size of 0, and nothing else
        return None
    words = _words(options.get("o", ""))
    if is_bind(options):
        return _bind(kind, device, words)
    if kind == "tmpfs":
        attributes, data = _sorted("tmpfs", words)
        return VolumeSource("tmpfs", "tmpfs", "", False, attributes, data)
    return _device(kind, device, words)


def is_bind(options: Mapping[str, str]) -> bool:
    """Whether `o` says so."""
    return any(word in _BINDS for word in _words(options.get("o", "")))


def _invalid(reason: str, hint: str = "") -> Invalid:
    return Invalid("create volume", "", reason, hint)


def _unsupported(reason: str, hint: str) -> Unsupported:
    return Unsupported("create volume", "", reason, hint)


def _check_names(options: Mapping[str, str]) -> None:
    """In Docker's words."""
    for name, value in options.items():
        if name not in NAMES:
            raise _invalid(f'invalid option: "{name[:60]}"', f"there are {', '.join(NAMES)}")
        if len(value) > MAX_BYTES or not value.isprintable():
            raise _invalid(f'option "{name}" is no line of text, or has over {MAX_BYTES} characters')
    for name, needed in _NEEDS.items():
        for other in needed:
            if name in options and other not in options:
                raise _invalid(f'missing required option: "{other}"')
    if options.get("size", "0").strip() not in ("", "0"):
        hint = "type: tmpfs with o: size=64m has a limit; a disk's file system has its own"
        raise _invalid("quota size requested but no quota support", hint)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def _path(device: str) -> str:
    if not device.startswith("/") or ".." in device.split("/"):
        raise _invalid(f'device "{device[:200]}" is not an absolute path', "such as /srv/data, without ..")
    return "/" + "/".join(part for part in posixpath.normpath(device).split("/") if part)


def _bind(kind: str, device: str, words: tuple[str, ...]) -> VolumeSource:
    if kind not in ("", "none", "bind"):
        raise _invalid(f'type "{kind[:40]}" with "bind" in o', "a bind has type: none")
    attributes, data = _sorted("bind", tuple(word for word in words if word not in _BINDS))
    if data:
        raise _invalid(f'"{data[0][:60]}" in o means nothing for a bind', "leave it out")
    return VolumeSource("bind", "", _path(device), "rbind" in words, attributes)


def _device(kind: str, device: str, words: tuple[str, ...]) -> VolumeSource:
    if kind in ("", "none", "bind"):
        raise _invalid(f'type "{kind}" without "bind" in o', "type: none, o: bind, device: /srv/data")
    if kind in _SERVED:
        raise _unsupported(
            f'type "{kind}" is not to be had here',
            "mount it on the host, and that directory here: type: none, o: bind, device: /mnt/data",
        )
    if kind not in FILE_SYSTEMS:
        raise _unsupported(
            f'type "{kind[:40]}" is not to be had here', f"none, tmpfs, {', '.join(FILE_SYSTEMS)}"
        )
    attributes, data = _sorted(kind, words)
    return VolumeSource("device", kind, _path(device), False, attributes, data)


def _sorted(kind: str, words: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Those of the mount, and those of its file system."""
    attributes, data = [], []
    for word in words:
        name = word.partition("=")[0]
        if name in _PROPAGATIONS:
            raise _unsupported(
                f'"{name}" in o is not to be had here',
                "a bind mount of the container has a propagation: /srv/data:/data:rslave",
            )
        if name in _NOT_THE_KERNELS or name.startswith("x-"):
            hint = "losetup makes a device of a file" if name == "loop" else "leave it out"
            raise _invalid(f'"{name[:60]}" in o is a word of mount(8), and none of the kernel', hint)
        if name in _OTHER_DEVICES:
            raise _unsupported(f'"{name}" in o names another device', "leave it out")
        if word in _ATTRIBUTES:
            attributes.append(word)
        elif word in _OF_FILE_SYSTEMS and kind == "bind":
            raise _invalid(f'"{word}" in o is of a file system, and none of a bind', "leave it out")
        elif word in _OF_FILE_SYSTEMS:
            attributes.append(word)
        elif word not in _NO_EFFECT:
            data.append(word)
    return tuple(attributes), tuple(data)
