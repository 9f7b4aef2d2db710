"""What an image may cost before it is refused: bytes, entries, ratio, names. Pure numbers.

Every reader of hostile bytes takes these, so that a bomb is refused by a count and never by a full
disk. The numbers are far above what real images have and far below what harms a host.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """For one layer, or one archive.

    ratio: unpacked to packed bytes, counted once `ratio_free_bytes` are unpacked (gzip ends at 1032:1).
    free_bytes: what the disk must keep free, so that a load never starves what runs.
    """

    entries: int = 1_000_000
    unpacked_bytes: int = 256 * 1024 * MIB
    ratio: int = 1000
    ratio_free_bytes: int = 64 * MIB
    extension_bytes: int = MIB  # one pax header, or one GNU long name
    name_bytes: int = 4095  # PATH_MAX with its NUL is 4096 (linux/limits.h)
    component_bytes: int = 255  # NAME_MAX
    depth: int = 256
    xattr_bytes: int = 64 * 1024  # XATTR_SIZE_MAX
    xattrs: int = 256
    window_bytes: int = 128 * MIB  # memory of one zstd or xz decoder
    free_bytes: int = 128 * MIB


DEFAULT_LIMITS = Limits()
