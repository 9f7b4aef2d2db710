"""Names from archives to paths that are safe below a root. Pure.

Called by the extractor for every entry. Only the form of a name is decided here; that no symbolic
link leads out is the extractor's work, by descriptor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from runtime.errors import Invalid
from runtime.images.limits import Limits

WHITEOUT_PREFIX = b".wh."
OPAQUE_MARK = b".wh..wh..opq"
_AUFS_PREFIX = b".wh..wh."  # aufs' own bookkeeping, which old layers carry; Docker skips it too


@dataclass(frozen=True, slots=True)
class Whiteout:
    """What a `.wh.` entry says: hide one name of the layers below, or all of a directory ("opaque")."""

    kind: Literal["hide", "opaque", "ignore"]
    directory: bytes
    name: bytes = b""


def clean_path(name: bytes, subject: str, limits: Limits) -> bytes:
    """`./usr//bin/` and `/usr/bin` are `usr/bin`; b"" is the root. `..`, overlong and deep are refused."""
    if len(name) > limits.name_bytes:
        raise _invalid(subject, name, f"is longer than {limits.name_bytes} bytes")
    parts = [part for part in name.split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise _invalid(subject, name, "has '..' in its path")
    if len(parts) > limits.depth:
        raise _invalid(subject, name, f"is deeper than {limits.depth} directories")
    if len(name) > limits.component_bytes and any(
        len(part.removeprefix(WHITEOUT_PREFIX)) > limits.component_bytes for part in parts
    ):
        raise _invalid(subject, name, f"has a part longer than {limits.component_bytes} bytes")
    return b"/".join(parts)


def read_whiteout(path: bytes, subject: str) -> Whiteout | None:
    """What a clean path with a reserved name means, else None. `Invalid` where the prefix has no meaning."""
    if WHITEOUT_PREFIX not in path:
        return None
    directory, _, base = path.rpartition(b"/")
    if any(part.startswith(_AUFS_PREFIX) for part in directory.split(b"/")):
        return Whiteout("ignore", directory)
    if any(part.startswith(WHITEOUT_PREFIX) for part in directory.split(b"/")):
        raise _invalid(subject, path, "has the reserved prefix '.wh.' on a directory")
    if base == OPAQUE_MARK:
        return Whiteout("opaque", directory)
    if base.startswith(_AUFS_PREFIX):
        return Whiteout("ignore", directory)
    if not base.startswith(WHITEOUT_PREFIX):
        return None
    hidden = base.removeprefix(WHITEOUT_PREFIX)
    if hidden in (b"", b".", b".."):
        raise _invalid(subject, path, "is a whiteout of no name")
    return Whiteout("hide", directory, hidden)


def _invalid(subject: str, name: bytes, reason: str) -> Invalid:
    return Invalid(
        "unpack layer", subject, f"{name[:200]!r} {reason}", "the image was made to harm, or is damaged"
    )
