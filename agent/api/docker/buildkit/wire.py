"""Protocol Buffers' wire format (proto3), as far as BuildKit's few messages need it. Pure.

    bytes ─ fields ─> (number, value), …        value: int of a varint, bytes of all that has a length
    number, value ─ text, blob, number, … ─> bytes

A message is parsed no deeper than who reads it asks, so that depth costs nothing. Unknown fields are passed
over, as the format asks for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from runtime.errors import Invalid

MAX_FIELDS = 200_000  # of one message
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_64 = (1 << 64) - 1
Value = int | bytes


def fields(data: bytes) -> Iterator[tuple[int, Value]]:
    """In their order. `Invalid` for what is no message."""
    place, end = 0, len(data)
    for _ in range(MAX_FIELDS):
        if place == end:
            return
        tag, place = _varint(data, place)
        number, kind = tag >> 3, tag & 7
        if not 0 < number < 1 << 29:
            raise _damaged()
        value: Value
        match kind:
            case 0:
                value, place = _varint(data, place)
            case 1 | 5:
                value, place = _take(data, place, 8 if kind == _FIXED64 else 4)
            case 2:
                length, place = _varint(data, place)
                value, place = _take(data, place, length)
            case _:  # groups are of proto2
                raise _damaged()
        yield number, value
    raise Invalid("read message", "", f"more than {MAX_FIELDS} fields")


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(data):
            break
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MAX_64, place
    raise _damaged()


def _take(data: bytes, place: int, count: int) -> tuple[bytes, int]:
    if count > len(data) - place:
        raise _damaged()
    return data[place : place + count], place + count


def _damaged() -> Invalid:
    return Invalid("read message", "", "not a message of Protocol Buffers")


# --- a message's fields, by number ------------------------------------------------------------------


class Message:
    """The fields of one message. A getter answers what proto3 does for one that is not there."""

    def __init__(self, data: bytes) -> None:
        self._fields: dict[int, list[Value]] = {}
        for number, value in fields(data):
            self._fields.setdefault(number, []).append(value)

    def has(self, number: int) -> bool:
        return number in self._fields

    def whole(self, number: int) -> int:
        """Unsigned; the last one counts."""
        value = self._fields.get(number, [0])[-1]
        if not isinstance(value, int):
            raise _damaged()
        return value

    def signed(self, number: int) -> int:
        value = self.whole(number)
        return value - (1 << 64) if value >> 63 else value

    def flag(self, number: int) -> bool:
        return bool(self.whole(number))

    def blob(self, number: int) -> bytes:
        return (self.blobs(number) or [b""])[-1]

    def blobs(self, number: int) -> list[bytes]:
        found = self._fields.get(number, [])
        for value in found:
            if not isinstance(value, bytes):
                raise _damaged()
        return found  # type: ignore[return-value]

    def text(self, number: int) -> str:
        return _text(self.blob(number))

    def file_name(self, number: int) -> str:
        """A text that need not be UTF-8, as os.fsdecode makes it."""
        found = self.blob(number).decode("utf-8", "surrogateescape")
        if "\0" in found:
            raise Invalid("read message", "", "a name with a null byte")
        return found

    def texts(self, number: int) -> list[str]:
        return [_text(value) for value in self.blobs(number)]

    def message(self, number: int) -> Message:
        """Several are merged, as proto3 says: their bytes one after the other."""
        return Message(b"".join(self.blobs(number)))

    def messages(self, number: int) -> Iterator[Message]:
        return (Message(value) for value in self.blobs(number))

    def text_map(self, number: int) -> dict[str, str]:
        return {entry.text(1): entry.text(2) for entry in self.messages(number)}


def _text(value: bytes) -> str:
    try:
        found = value.decode()
    except UnicodeDecodeError:
        raise _damaged() from None
    if "\0" in found:
        raise Invalid("read message", "", "a text with a null byte")
    return found


# --- writing: what has proto3's default is left out ---------------------------------------------------


def varint(value: int) -> bytes:
    value &= _MAX_64
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def number(place: int, value: int | bool) -> bytes:
    return varint(place << 3 | _VARINT) + varint(int(value)) if value else b""


def blob(place: int, value: bytes) -> bytes:
    return inner(place, value) if value else b""


def inner(place: int, value: bytes) -> bytes:
    """A message, there even when it is empty."""
    return varint(place << 3 | _BYTES) + varint(len(value)) + value


def text(place: int, value: str) -> bytes:
    return blob(place, value.encode("utf-8", "replace"))


def texts(place: int, values: Iterable[str]) -> bytes:
    return b"".join(inner(place, value.encode("utf-8", "replace")) for value in values)


def text_map(place: int, values: Mapping[str, str]) -> bytes:
    return b"".join(inner(place, text(1, key) + text(2, value)) for key, value in values.items())


def moment(place: int, at: float | None) -> bytes:
    """A google.protobuf.Timestamp, of Unix seconds; left out for None."""
    if at is None:
        return b""
    seconds, rest = divmod(round(at * 1e9), 10**9)
    return inner(place, number(1, seconds) + number(2, rest))
