"""Which extended attributes of an image reach the disk: file capabilities and plain user attributes.

`trusted.overlay.*` and `user.overlay.*` steer overlayfs, `security.ima`, `security.selinux` and POSIX
ACLs steer the host: an image sets none of them. Called by the tree writer.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping, Sequence

from runtime.images.limits import Limits

_CAPABILITY = b"security.capability"
_USER = b"user."
_OVERLAY = b"user.overlay."
# linux/capability.h: VFS_CAP_REVISION_2 is 20 bytes long, _3 with a root id 24
_CAPABILITY_SIZES = {0x02: 20, 0x03: 24}
_NOT_STORED = frozenset({errno.EOPNOTSUPP, errno.ENOSPC, errno.ERANGE, errno.E2BIG, errno.EPERM})


def allowed_xattrs(
    xattrs: Mapping[bytes, bytes], limits: Limits
) -> tuple[tuple[tuple[str, bytes], ...], tuple[str, ...]]:
    """Those to set, and one sentence for each that is dropped."""
    allowed: list[tuple[str, bytes]] = []
    dropped: list[str] = []
    for key, value in xattrs.items():
        if len(allowed) < limits.xattrs and _is_allowed(key, value, limits):
            allowed.append((os.fsdecode(key), value))
        else:
            dropped.append(f"extended attribute {key[:100]!r}: dropped")
    return tuple(allowed), tuple(dropped)


def set_xattrs(descriptor: int, xattrs: Sequence[tuple[str, bytes]]) -> tuple[str, ...]:
    """Set them on an open file or directory. Returns what this file system does not take."""
    refused = []
    for key, value in xattrs:
        try:
            os.setxattr(descriptor, key, value)
        except OSError as error:
            if key.startswith("security.") or error.errno not in _NOT_STORED:
                raise
            refused.append(f"extended attribute {key!r}: {error.strerror}")
    return tuple(refused)


def _is_allowed(key: bytes, value: bytes, limits: Limits) -> bool:
    if len(key) > limits.component_bytes or b"\0" in key or len(value) > limits.xattr_bytes:
        return False
    if key == _CAPABILITY:
        return len(value) > 3 and _CAPABILITY_SIZES.get(value[3]) == len(value)
    return key.startswith(_USER) and key != _USER and not key.startswith(_OVERLAY)
