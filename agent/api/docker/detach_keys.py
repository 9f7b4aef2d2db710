"""The keys that end an attach or exec and leave the container running: read from their names, and found in
what the client types. Pure.
"""

from __future__ import annotations

from runtime.errors import Invalid

DEFAULT = b"\x10\x11"  # ctrl-p,ctrl-q
MAX_KEYS = 64
_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def read_keys(text: str) -> bytes:
    """ "ctrl-a,a" as bytes; the default for "". Invalid for what names no keys."""
    if not text:
        return DEFAULT
    names = text.split(",")
    keys = [_key(name) for name in names[: MAX_KEYS + 1]]
    if len(keys) > MAX_KEYS or None in keys:
        raise Invalid("", "", f"Invalid detach keys ({text[:80]}) provided")
    return bytes(key for key in keys if key is not None)


def _key(name: str) -> int | None:
    if len(name) == 1 and name.isascii():
        return ord(name)
    if name.startswith("ctrl-") and len(name) == 6 and name[5] in _CONTROL:
        return _CONTROL.index(name[5])
    return 127 if name == "DEL" else None


class DetachFinder:
    """Finds the keys in a stream that comes in pieces of any size."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""  # the beginning of the keys, perhaps: nobody sees it yet

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """What to pass on of data, and whether the keys have come: then nothing after them counts."""
        data = self._held + data
        found = data.find(self._keys)
        if found >= 0:
            self._held = b""
            return data[:found], True
        held = self._beginning(data)
        self._held = data[len(data) - held :]
        return data[: len(data) - held], False

    def rest(self) -> bytes:
        """What was held back, when no more comes."""
        held, self._held = self._held, b""
        return held

    def _beginning(self, data: bytes) -> int:
        """How many of the last bytes may be the first of the keys."""
        most = min(len(self._keys) - 1, len(data))
        return next((count for count in range(most, 0, -1) if data.endswith(self._keys[:count])), 0)
