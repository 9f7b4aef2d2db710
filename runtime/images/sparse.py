"""Files with holes, in the four ways that tar has: GNU's own header, and pax 0.0, 0.1 and 1.0.

    header, pax records, stream ─> read_map ─> SparseMap(pieces, size)

Called by the reader of tar headers. Strict: pieces come in order, lie in the file, and are together as long
as what is stored of it. A file may not be far longer than what is stored, for a hole is the cheapest bomb
(tar-split, CVE-2025-58183).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from runtime.errors import Invalid
from runtime.images.limits import Limits
from runtime.images.streams import ByteStream

PREFIX = b"GNU.sparse."
MAP = PREFIX + b"map"
_PARTS = (PREFIX + b"offset", PREFIX + b"numbytes")  # of 0.0, again and again: joined to a map as 0.1 has it
_BLOCK = 512
_OLD_MAP_AT, _OLD_MORE_AT, _OLD_SIZE_AT = 386, 482, 483  # of GNU's header (tar.h: struct oldgnu_header)
_OLD_PIECES, _MORE_PIECES, _MORE_AT = 4, 21, 504  # struct sparse_header
_FIELD = 12
_MAX_DIGITS = 19


class SparseMap(NamedTuple):
    """pieces: (offset, length) of what is stored, in order. size: of the whole file. map_bytes: what of the
    stored bytes was the map itself."""

    pieces: tuple[tuple[int, int], ...]
    size: int
    map_bytes: int = 0


def add_part(records: dict[bytes, bytes], key: bytes, value: bytes, subject: str) -> bool:
    """Whether a pax record is one of those that come again and again; then it is added to the map."""
    if key not in _PARTS:
        return False
    known = records.get(MAP)
    has_odd = known is not None and known.count(b",") % 2 == 0
    if has_odd is not (key == _PARTS[1]) or not _is_number(value):
        raise _invalid(subject, "a map whose parts are in disorder")
    records[MAP] = value if known is None else known + b"," + value
    return True


def read_map(
    header: bytes,
    records: Mapping[bytes, bytes],
    stored: int,
    stream: ByteStream,
    subject: str,
    limits: Limits,
) -> SparseMap:
    """Of a file that is said to have one; takes from the stream what of it lies there."""
    if header[156:157] == b"S":
        found = _read_old(header, stream, subject, limits)
    elif records.get(PREFIX + b"major") == b"1":
        found = _read_in_data(records, stored, stream, subject, limits)
    else:
        numbers = [_number(text, subject) for text in records.get(MAP, b"").split(b",") if text]
        found = SparseMap(_pairs(numbers, subject), _size(records, subject))
    _check(found, stored - found.map_bytes, subject, limits)
    return found


def _read_old(header: bytes, stream: ByteStream, subject: str, limits: Limits) -> SparseMap:
    numbers = list(_old_numbers(header, _OLD_MAP_AT, _OLD_PIECES, subject))
    has_more, size = header[_OLD_MORE_AT], _octal(header[_OLD_SIZE_AT : _OLD_SIZE_AT + _FIELD], subject)
    taken = 0
    while has_more:
        block = stream.read(_BLOCK)
        taken += _BLOCK
        if len(block) != _BLOCK or taken > limits.extension_bytes:
            raise _invalid(subject, "a map that is cut off, or too long")
        numbers += _old_numbers(block, 0, _MORE_PIECES, subject)
        has_more = block[_MORE_AT]
    return SparseMap(_pairs(numbers, subject), size)


def _old_numbers(block: bytes, at: int, count: int, subject: str) -> Iterator[int]:
    """Up to the first piece that is not there."""
    for start in range(at, at + 2 * _FIELD * count, 2 * _FIELD):
        offset, length = block[start : start + _FIELD], block[start + _FIELD : start + 2 * _FIELD]
        if not offset[0] and not length[0]:
            return
        yield _octal(offset, subject)
        yield _octal(length, subject)


def _read_in_data(
    records: Mapping[bytes, bytes], stored: int, stream: ByteStream, subject: str, limits: Limits
) -> SparseMap:
    """1.0: lines of decimal numbers, the first how many pieces there are, filled up to a whole block."""
    if records.get(PREFIX + b"minor") != b"0":
        raise _invalid(subject, "a map of a version that nobody writes")
    blocks: list[bytes] = []
    lines, wanted = 0, 1
    while lines < wanted:
        block = stream.read(_BLOCK)
        blocks.append(block)
        if len(block) != _BLOCK or len(blocks) * _BLOCK > min(limits.extension_bytes, stored):
            raise _invalid(subject, "a map that is cut off, or too long")
        if not lines and b"\n" in block:
            wanted = 1 + 2 * _number(b"".join(blocks).partition(b"\n")[0], subject)
        lines += block.count(b"\n")
    data = b"".join(blocks)
    numbers = [_number(text, subject) for text in data.split(b"\n", wanted)[1:wanted]]
    return SparseMap(_pairs(numbers, subject), _size(records, subject), len(data))


def _size(records: Mapping[bytes, bytes], subject: str) -> int:
    for key in (PREFIX + b"realsize", PREFIX + b"size"):
        if key in records:
            return _number(records[key], subject)
    raise _invalid(subject, "a map without the file's size")


def _pairs(numbers: list[int], subject: str) -> tuple[tuple[int, int], ...]:
    if len(numbers) % 2:
        raise _invalid(subject, "a map whose parts are in disorder")
    return tuple(zip(numbers[::2], numbers[1::2], strict=True))


def _check(found: SparseMap, stored: int, subject: str, limits: Limits) -> None:
    end = 0
    for offset, length in found.pieces:
        if offset < end:
            raise _invalid(subject, "a map whose parts are in disorder")
        end = offset + length
    if end > found.size or sum(length for _, length in found.pieces) != stored:
        raise _invalid(subject, "a map that is not of this file")
    if found.size > max(limits.ratio_free_bytes, stored * limits.ratio):
        reason = f"a file of {found.size} bytes of which {stored} are stored"
        raise Invalid("read tar", subject, reason, "it looks like a bomb")


def _is_number(text: bytes) -> bool:
    return text.isdigit() and len(text) <= _MAX_DIGITS


def _number(text: bytes, subject: str) -> int:
    if not _is_number(text):
        raise _invalid(subject, "a map with what is no number")
    return int(text)


def _octal(field: bytes, subject: str) -> int:
    if field[0] == 0x80:  # GNU's base-256
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits.isdigit() or b"8" in digits or b"9" in digits:
        raise _invalid(subject, "a map with what is no number")
    return int(digits, 8)


def _invalid(subject: str, reason: str) -> Invalid:
    return Invalid(
        "read tar", subject, f"a sparse file with {reason}", "the archive is damaged, or was made to harm"
    )
