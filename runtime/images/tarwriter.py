"""Writes tar: ustar, with pax records only where a field is too small or not plain ASCII. The other way of
`tarheaders`, and what every reader of layers takes.

    write_entry(write, entry, descriptor)  ...  write(END)      write: takes bytes, in order

Called by the layer writer, the export and the archive writer. Equal entries make equal bytes: no clock, no
name of an owner, no padding that varies.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator, Mapping

from runtime.errors import Unsupported
from runtime.images.limits import DEFAULT_LIMITS
from runtime.images.tarheaders import BLOCK_BYTES, HEADER, Entry, Kind, sum_of

Write = Callable[[bytes], object]
Send = Callable[[int, int], int]

END = bytes(2 * BLOCK_BYTES)
_TYPES: Mapping[Kind, bytes] = {
    "file": b"0", "hardlink": b"1", "symlink": b"2",
    "char": b"3", "block": b"4", "directory": b"5", "fifo": b"6",
}  # fmt: skip
_NAME_BYTES = 100
_MAX_ID = 8**7 - 1  # seven octal digits and a NUL
_MAX_SIZE = 8**11 - 1
_CHUNK_BYTES = 1024 * 1024
_SMALL_BYTES = 64 * 1024  # files up to this are read at once, and go with their header in one piece
# The same block as HEADER, for an entry that needs no more than numbers and names that fit.
_PLAIN = struct.Struct("100s48s8s1s100s8s64x16s167x")
_NO_DEVICE = b"0000000\x000000000\x00"
_NO_XATTRS: Mapping[bytes, bytes] = {}


def send_nothing(_file: int, _size: int) -> int:
    return 0


def write_entry(write: Write, entry: Entry, descriptor: int = -1, send: Send = send_nothing) -> None:
    """A header, and for a file entry.size bytes of its descriptor: one that got shorter meanwhile ends in
    zeros, of one that got longer the rest is left out. send: passes on as much as it can by a way of its own,
    from where the descriptor is, and gives how much that was."""
    head, size = header(entry), entry.size if entry.kind == "file" else 0
    if not size:
        write(head)
        return
    padding = bytes(-size % BLOCK_BYTES)
    if size < _SMALL_BYTES:
        data = os.read(descriptor, size)
        write(b"".join((head, data, *_exactly(descriptor, size - len(data)), padding)))
        return
    write(head)
    for piece in _exactly(descriptor, size - send(descriptor, size)):
        write(piece)
    write(padding)


def member(name: str, size: int, *, mode: int = 0o644) -> Entry:
    """A file of root's, of no time: what an archive of images is made of."""
    return Entry(name.encode(), "file", mode, 0, 0, 0, size, b"", 0, 0, _NO_XATTRS)


def folder(name: str) -> Entry:
    return Entry(name.encode(), "directory", 0o755, 0, 0, 0, 0, b"", 0, 0, _NO_XATTRS)


def header(entry: Entry) -> bytes:
    """The 512 bytes of an entry, with what must come before them. `Unsupported` for what readers refuse."""
    name = entry.name + b"/" if entry.kind == "directory" and not entry.name.endswith(b"/") else entry.name
    if _is_plain(entry, name):
        return _plain_header(entry, name)
    records = _records(entry, name)
    seconds = _seconds(entry.mtime_ns)
    size = entry.size if entry.kind == "file" else 0
    fields = (
        _short(name), b"%07o\0" % (entry.mode & 0o7777), _octal(entry.uid, 7), _octal(entry.gid, 7),
        _octal(size, 11), b"%011o\0" % seconds, b" " * 8, _TYPES[entry.kind], _short(entry.link),
        b"ustar\x0000", b"", b"", _octal(entry.major, 7), _octal(entry.minor, 7), b"",
    )  # fmt: skip
    return (_extension(entry, records) if records else b"") + _with_checksum(fields)


def _is_plain(entry: Entry, name: bytes) -> bool:
    """Nearly all are."""
    return (
        len(name) <= _NAME_BYTES
        and name.isascii()
        and len(entry.link) <= _NAME_BYTES
        and entry.link.isascii()
        and not entry.xattrs
        and entry.uid <= _MAX_ID
        and entry.gid <= _MAX_ID
        and entry.size <= _MAX_SIZE
        and not entry.major
        and not entry.minor
    )


def _plain_header(entry: Entry, name: bytes) -> bytes:
    """In a third of the time, which is most of what a small file costs."""
    numbers = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (
        entry.mode & 0o7777, entry.uid, entry.gid, entry.size if entry.kind == "file" else 0,
        _seconds(entry.mtime_ns),
    )  # fmt: skip
    block = _PLAIN.pack(name, numbers, b" " * 8, _TYPES[entry.kind], entry.link, b"ustar\x0000", _NO_DEVICE)
    return b"%b%06o\0 %b" % (block[:148], sum_of(block), block[156:])


def _seconds(mtime_ns: int) -> int:
    return min(max(mtime_ns // 10**9, 0), _MAX_SIZE)


def _records(entry: Entry, name: bytes) -> list[tuple[bytes, bytes]]:
    """What the fields cannot say, in an order of its own (POSIX.1-2017, pax, "pax Extended Header")."""
    records: list[tuple[bytes, bytes]] = []
    long = [(key, value) for key, value in ((b"path", name), (b"linkpath", entry.link)) if not _fits(value)]
    if not all(_is_utf8(value) for _, value in long):
        records.append((b"hdrcharset", b"BINARY"))
    records += long
    numbers = ((b"uid", entry.uid, _MAX_ID), (b"gid", entry.gid, _MAX_ID), (b"size", entry.size, _MAX_SIZE))
    records += [(key, b"%d" % value) for key, value, most in numbers if value > most]
    records += [(b"SCHILY.xattr." + key, value) for key, value in sorted(entry.xattrs.items())]
    return records


def _extension(entry: Entry, records: list[tuple[bytes, bytes]]) -> bytes:
    data = b"".join(_record(key, value) for key, value in records)
    if len(data) > DEFAULT_LIMITS.extension_bytes:
        name, reason = (
            entry.name[:200].decode(errors="replace"),
            "its extended attributes are too long for a tar",
        )
        raise Unsupported("write tar", name, reason, "take some of them away")
    fields = (
        b"PaxHeaders/x", b"0000644\0", b"0000000\0", b"0000000\0", _octal(len(data), 11), b"00000000000\0",
        b" " * 8, b"x", b"", b"ustar\x0000", b"", b"", b"0000000\0", b"0000000\0", b"",
    )  # fmt: skip
    return _with_checksum(fields) + data + bytes(-len(data) % BLOCK_BYTES)


def _record(key: bytes, value: bytes) -> bytes:
    """LENGTH KEY=VALUE and a newline; the length counts its own digits."""
    body = b" " + key + b"=" + value + b"\n"
    length = len(body)
    while (whole := len(b"%d" % length) + len(body)) != length:
        length = whole
    return b"%d" % length + body


def _with_checksum(fields: tuple[bytes, ...]) -> bytes:
    block = HEADER.pack(*fields)
    return block[:148] + b"%06o\0 " % sum_of(block) + block[156:]


def _octal(value: int, digits: int) -> bytes:
    """0 for what a pax record says instead."""
    return b"%0*o\0" % (digits, value if value < 8**digits else 0)


def _fits(text: bytes) -> bool:
    return len(text) <= _NAME_BYTES and text.isascii()


def _short(text: bytes) -> bytes:
    """The name itself, or as much of it as a reader without pax can show."""
    return text if _fits(text) else bytes(byte if byte < 128 else 95 for byte in text[:_NAME_BYTES])


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _exactly(descriptor: int, size: int) -> Iterator[bytes]:
    while size > 0:
        data = os.read(descriptor, min(size, _CHUNK_BYTES)) or bytes(min(size, _CHUNK_BYTES))
        size -= len(data)
        yield data
