"""Between aiohttp and its parser: a request that can be answered at once is, and aiohttp never hears of it.
Used by `ways.Inbound`; knows no handler.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import _serialize_headers

METHODS = frozenset(("GET", "HEAD"))


class EarlyReader:
    """aiohttp's parser of one connection. answer: gets a whole request that has no body, keeps the connection
    and asks for nothing but an answer; whether it gave one."""

    __slots__ = ("_answer", "_parser")

    def __init__(self, parser: Any, answer: Callable[[Any, Any], bool]) -> None:
        self._parser = parser
        self._answer = answer

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        messages, is_upgraded, tail = self._parser.feed_data(data)
        if len(messages) == 1 and not is_upgraded and not tail:
            message, payload = messages[0]
            if _is_plain(message) and payload.is_eof() and self._answer(message, payload):
                self._parser.message_consumed()
                return (), False, b""
        return messages, is_upgraded, tail

    def __getattr__(self, name: str) -> Any:
        """All else that aiohttp asks of its parser."""
        return getattr(self._parser, name)


def _is_plain(message: Any) -> bool:
    return (
        message.method in METHODS
        and message.version == HttpVersion11
        and not message.should_close
        and not message.upgrade
        and not message.chunked
        and "Content-Length" not in message.headers
        and "Expect" not in message.headers
    )


def written(response: web.Response, method: str) -> bytes:
    """The whole answer, with the headers that aiohttp gives one."""
    headers, body = response.headers, response.body or b""
    if body or (method != "HEAD" and response.status != 304):
        headers["Content-Length"] = str(len(body))  # type: ignore[arg-type]
    headers.setdefault("Content-Type", "application/octet-stream")
    headers.setdefault("Date", rfc822_formatted_time())
    headers.setdefault("Server", SERVER_SOFTWARE)
    head = _serialize_headers(f"HTTP/1.1 {response.status} {response.reason}", headers)
    return head if method == "HEAD" else head + body  # type: ignore[operator]
