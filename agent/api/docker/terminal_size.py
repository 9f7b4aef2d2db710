"""Sizes of terminals in requests. Pure but for reading the query."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from runtime.errors import Invalid

MOST = 65535  # struct winsize (ioctl_tty(2))


def read_size(request: web.BaseRequest) -> tuple[int, int]:
    """?h= and ?w= as (rows, columns)."""
    return _query_word(request, "h"), _query_word(request, "w")


def _query_word(request: web.BaseRequest, name: str) -> int:
    text = request.query.get(name, "")
    if not text.isascii() or not text.isdecimal() or len(text) > 9 or int(text) > MOST:
        what = {"h": "height", "w": "width"}[name]
        raise Invalid("", "", f"invalid resize {what} {text[:20]!r}: not a whole number from 0 to {MOST}")
    return int(text)


def read_console_size(data: list[Any]) -> tuple[int, int]:
    """A ConsoleSize, [rows, columns]; (0, 0) for none."""
    if not data:
        return 0, 0
    if len(data) != 2 or not all(_is_size(value) for value in data):
        raise Invalid("read request", "ConsoleSize", f"not two whole numbers from 0 to {MOST}")
    return data[0], data[1]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST
