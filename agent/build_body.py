"""The body of a request to build: the order as a line of JSON, and the context behind it."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import IO, Any


def body_of(order: Mapping[str, Any], context: IO[bytes] | None) -> bytes | IO[bytes]:
    head = json.dumps(order).encode() + b"\n"
    return head if context is None else io.BufferedReader(_Joined(head, context))


class _Joined(io.RawIOBase):
    """A head, then a file."""

    def __init__(self, head: bytes, file: IO[bytes]) -> None:
        self._head = head
        self._file = file

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self._head = self._head[: len(buffer)], self._head[len(buffer) :]
        data = data or self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)
