"""Our own reader of tar headers: ustar, pax, GNU long names, sparse files. Pure but for its stream.

    ByteStream ─> read_entries ─> Entry, Entry, ...     the caller takes each entry's data from the stream

Called by the layer extractor and the archive reader. Strict where tools differ, because what two
readers see differently is how archives smuggle: numbers are octal digits or base-256 and nothing
else, checksums are checked, lengths are bounded before memory is used.
"""

from __future__ import annotations

import functools
import math
import struct
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from runtime.errors import Invalid
from runtime.images import sparse
from runtime.images.limits import DEFAULT_LIMITS, Limits
from runtime.images.sparse import SparseMap
from runtime.images.streams import ByteStream

Kind = Literal["file", "hardlink", "symlink", "char", "block", "directory", "fifo"]

BLOCK_BYTES = 512
_ZERO_BLOCK = bytes(BLOCK_BYTES)
HEADER = struct.Struct("100s8s8s8s12s12s8s1s100s8s32s32s8s8s155s12x")
_CHECKSUM_AT = 148
_CHECKSUM_END = 156
_EVEN_BYTES = int.from_bytes(b"\xff\0" * (BLOCK_BYTES // 2), "little")
_KINDS: dict[bytes, Kind] = {
    b"0": "file", b"\0": "file", b"7": "file", b"S": "file", b"1": "hardlink", b"2": "symlink",
    b"3": "char", b"4": "block", b"5": "directory", b"6": "fifo",
}  # fmt: skip
_MAX_EXTENSIONS = 16  # headers in a row before the entry that they describe
_MAX_ID = 2**32 - 2  # 2^32-1 is "leave as it is" for chown(2)
_MAX_SECONDS = 2**33  # the year 2242; ext4 ends at 2^34
_SPARSE_NAME = sparse.PREFIX + b"name"  # the path is then what a reader without sparse files would call it
_XATTR_PREFIX = b"SCHILY.xattr."
_NO_XATTRS: Mapping[bytes, bytes] = {}


class Entry(NamedTuple):
    """One entry, its numbers checked; the name is still as it was written.

    size: bytes of data that follow in the stream. link: the target of a link, as it was written. holes: of a
    sparse file, where those bytes belong, and how long it is.
    """

    name: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size: int
    link: bytes
    major: int
    minor: int
    xattrs: Mapping[bytes, bytes]
    holes: SparseMap | None = None


def read_entries(
    stream: ByteStream, subject: str, limits: Limits = DEFAULT_LIMITS, *, needs_end: bool = False
) -> Iterator[Entry]:
    """All entries up to the end mark. Data that the caller leaves in the stream is skipped.

    needs_end: a stream that ends without the two zero blocks is `Invalid` (where no digest tells it).
    """
    records: dict[bytes, bytes] = {}
    count = extensions = holes = 0
    while (block := stream.read(BLOCK_BYTES)) not in (_ZERO_BLOCK, b""):
        count += 1
        extensions += 1
        if count > limits.entries:
            raise _invalid(subject, f"more than {limits.entries} entries")
        if extensions > _MAX_EXTENSIONS:
            raise _invalid(subject, f"more than {_MAX_EXTENSIONS} extended headers for one entry")
        kind, fields = _split(block, subject)
        if kind in b"xgLK":
            records |= _read_extension(stream, kind, fields, subject, limits)
            continue
        entry = _build(kind, fields, records, subject)
        if kind == b"S" or any(key.startswith(sparse.PREFIX) for key in records):
            entry = _with_holes(entry, block, records, stream, subject, limits)
            holes += entry.holes.size - entry.size if entry.holes else 0
            if holes > limits.unpacked_bytes:
                raise _invalid(subject, f"more than {limits.unpacked_bytes} bytes of holes")
        records, extensions = {}, 0
        end = stream.position + _padded(entry.size)
        yield entry
        rest = end - stream.position
        if stream.skip(rest) != rest:
            raise _invalid(subject, f"ends inside {entry.name!r}")
    if needs_end and not block:
        raise _invalid(subject, "ends without its end mark")


def _split(block: bytes, subject: str) -> tuple[bytes, tuple[bytes, ...]]:
    if len(block) != BLOCK_BYTES:
        raise _invalid(subject, "ends inside a header")
    fields: tuple[bytes, ...] = HEADER.unpack(block)
    try:
        stored = _parse_number(fields[6])
    except ValueError:
        reason = "not a tar archive, or a damaged one: a header has no checksum"
        raise Invalid("read tar", subject, reason, "give a tar, plain or packed") from None
    if stored != sum_of(block) - sum(fields[6]) + 8 * 0x20 and not _is_signed_sum(stored, block):
        raise _invalid(subject, "a header's checksum is wrong")
    return fields[7], fields


def sum_of(block: bytes) -> int:
    """Of its bytes. Of ASCII ones by casting out 65,535s, in a third of the time of sum(): they are added in
    pairs, the digits of a number to the base 65,536, and 512 times 127 is less than that."""
    if not block.isascii():
        return sum(block)
    whole = int.from_bytes(block, "little")
    return ((whole & _EVEN_BYTES) + (whole >> 8 & _EVEN_BYTES)) % 0xFFFF


def _is_signed_sum(stored: int, block: bytes) -> bool:
    """Old tars summed signed bytes."""
    around = block[:_CHECKSUM_AT] + b" " * 8 + block[_CHECKSUM_END:]
    signed: int = sum(struct.unpack("512b", around))
    return stored == signed


def _read_extension(
    stream: ByteStream, kind: bytes, fields: tuple[bytes, ...], subject: str, limits: Limits
) -> dict[bytes, bytes]:
    size = _number(fields[4], subject)
    if size > limits.extension_bytes:
        raise _invalid(subject, f"an extended header of {size} bytes, {limits.extension_bytes} is the most")
    data = stream.read(_padded(size))
    if len(data) != _padded(size):
        raise _invalid(subject, "ends inside an extended header")
    data = data[:size]
    match kind:
        case b"L":
            return {b"path": _until_nul(data)}
        case b"K":
            return {b"linkpath": _until_nul(data)}
        case b"x":
            return parse_pax(data, subject)
        case _:
            return {}  # global headers hold comments; Docker ignores them too


def parse_pax(data: bytes, subject: str) -> dict[bytes, bytes]:
    """Records `LENGTH KEY=VALUE\\n` of one pax header (POSIX.1-2017, pax, "pax Extended Header")."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 9)
        digits = data[at:space]
        end = at + int(digits) if space > at and digits.isdigit() else -1
        if not space < end <= len(data) or data[end - 1 : end] != b"\n":
            raise _invalid(subject, "a pax record has a wrong length")
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not key or not equals:
            raise _invalid(subject, "a pax record is not KEY=VALUE")
        if not sparse.add_part(records, key, value, subject):
            records[key] = value
        at = end
    return records


def _build(kind: bytes, fields: tuple[bytes, ...], records: dict[bytes, bytes], subject: str) -> Entry:
    name = records.get(_SPARSE_NAME) or records.get(b"path") or _full_name(fields)
    link = records.get(b"linkpath") or _until_nul(fields[8])
    if b"\0" in name or b"\0" in link:
        raise _invalid(subject, "a name with a NUL byte")
    known = _KINDS.get(kind)
    if known is None:
        raise _invalid(subject, f"{name[:200]!r} is of the unknown type {kind!r}")
    if kind == b"\0" and name.endswith(b"/"):  # before POSIX, a directory was a file with a slash
        known = "directory"
    is_device = known in ("char", "block")
    return Entry(
        name,
        known,
        _number(fields[1], subject) & 0o7777,
        _checked_id(_record_number(records, b"uid", fields[2], subject), subject),
        _checked_id(_record_number(records, b"gid", fields[3], subject), subject),
        _time_ns(records, fields[5], subject),
        _record_number(records, b"size", fields[4], subject) if known == "file" else 0,
        link,
        _number(fields[12], subject) if is_device else 0,
        _number(fields[13], subject) if is_device else 0,
        _xattrs(records) if records else _NO_XATTRS,
    )


def _with_holes(
    entry: Entry,
    block: bytes,
    records: Mapping[bytes, bytes],
    stream: ByteStream,
    subject: str,
    limits: Limits,
) -> Entry:
    if entry.kind != "file":
        raise _invalid(subject, f"{entry.name[:200]!r} has holes, and is no file")
    found = sparse.read_map(block, records, entry.size, stream, subject, limits)
    return entry._replace(size=entry.size - found.map_bytes, holes=found)


def _full_name(fields: tuple[bytes, ...]) -> bytes:
    name = _until_nul(fields[0])
    if fields[9] == b"ustar\x0000" and fields[14][0]:
        return _until_nul(fields[14]) + b"/" + name
    return name


def _until_nul(field: bytes) -> bytes:
    end = field.find(b"\0")
    return field if end < 0 else field[:end]


def _number(field: bytes, subject: str) -> int:
    try:
        return _parse_number(field)
    except ValueError as error:
        raise _invalid(subject, str(error)) from None


@functools.lru_cache(maxsize=4096)  # modes, owners and sizes repeat: half of all parsing time
def _parse_number(field: bytes) -> int:
    """Octal digits, or GNU's base-256 when the first bit is set. Negative ones are refused."""
    if field[0] & 0x80:
        if field[0] != 0x80:
            raise ValueError("a negative or too large number in a header")
        return int.from_bytes(field[1:], "big")
    digits = _until_nul(field).strip(b" ")
    if not digits:
        return 0
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise ValueError(f"{field!r} is not an octal number")
    return int(digits, 8)


def _record_number(records: dict[bytes, bytes], key: bytes, field: bytes, subject: str) -> int:
    text = records.get(key)
    if text is None:
        return _number(field, subject)
    if not text.isdigit() or len(text) > 19:
        raise _invalid(subject, f"the pax record {key!r} is not a number")
    return int(text)


def _checked_id(value: int, subject: str) -> int:
    if value > _MAX_ID:
        raise _invalid(subject, f"{value} is not a user or group id")
    return value


def _time_ns(records: dict[bytes, bytes], field: bytes, subject: str) -> int:
    """Nanoseconds since 1970; times outside 1970 to 2242 become 0, as with Docker."""
    text = records.get(b"mtime")
    if text is None:
        seconds = 0 if field[0] == 0xFF else _number(field, subject)
        return seconds * 10**9 if seconds < _MAX_SECONDS else 0
    try:
        if len(text) > 40 or not math.isfinite(float(text)):
            raise ValueError
    except ValueError:
        raise _invalid(subject, "the pax record b'mtime' is not a time") from None
    whole, _, fraction = text.partition(b".")
    if not whole.isdigit() or not 0 <= int(whole) < _MAX_SECONDS:
        return 0
    if not fraction.isdigit():
        fraction = b"0"
    return int(whole) * 10**9 + int(fraction[:9].ljust(9, b"0"))


def _xattrs(records: dict[bytes, bytes]) -> Mapping[bytes, bytes]:
    start = len(_XATTR_PREFIX)
    return {
        key[start:]: value for key, value in records.items() if key.startswith(_XATTR_PREFIX)
    } or _NO_XATTRS


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _invalid(subject: str, reason: str) -> Invalid:
    return Invalid("read tar", subject, reason, "the archive is damaged, or was made to harm")
