"""Between aiohttp and its parser: a request that can be answered at once is, and aiohttp never hears of it.
Used by `ways.Inbound`; knows no handler.

What follows a request that asks to leave HTTP is given to no parser, which would throw it away.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aiohttp import HttpVersion11, web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE
from aiohttp.http_writer import _serialize_headers

METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE"))
MAX_BODY_BYTES = 1 << 16


class EarlyReader:
    """aiohttp's parser of one connection. answer: gets a whole request that keeps the connection and asks for
    nothing but an answer, or to leave HTTP; whether it gave one. body: what came behind the head that is fed
    next, and then what is left of it; b"" when it was read with it. waits: the request whose body has not
    come yet: many clients write it by itself."""

    __slots__ = ("_answer", "_parser", "body", "waits")

    def __init__(self, parser: Any, answer: Callable[[Any, Any], bool]) -> None:
        self._parser = parser
        self._answer = answer
        self.body = b""
        self.waits: tuple[Any, Any] | None = None

    def feed_data(self, data: bytes) -> tuple[Sequence[Any], bool, bytes]:
        waits, self.waits = self.waits, None
        if waits is not None and waits[0].upgrade:
            missing = body_length(waits[0]) - waits[1].total_bytes
            data, self.body = data[:missing], data[missing:]
        messages, is_upgraded, tail = self._parser.feed_data(data)
        if waits is not None:
            messages = (waits, *messages)
        if len(messages) != 1 or is_upgraded or tail or not _is_plain(messages[0][0]):
            return messages, is_upgraded, tail
        message, payload = messages[0]
        if not self._is_whole(message, payload):
            if not _is_small(message):
                return messages, False, b""
            self.waits = messages[0]
        elif self._answer(message, payload):
            self._parser.message_consumed()
        else:
            return messages, False, b""
        return (), False, b""

    def _is_whole(self, message: Any, payload: Any) -> bool:
        """Without a body, or with one that has come."""
        if payload.is_eof():
            return True
        if not self.body or not _is_small(message):
            return False
        length = body_length(message)
        if len(self.body) < length or (len(self.body) > length and not message.upgrade):
            return False
        body, self.body = self.body[:length], self.body[length:]
        self._parser.feed_data(body)
        return bool(payload.is_eof())

    def __getattr__(self, name: str) -> Any:
        """All else that aiohttp asks of its parser."""
        return getattr(self._parser, name)


def _is_plain(message: Any) -> bool:
    return (
        message.method in METHODS
        and message.version == HttpVersion11
        and not message.should_close
        and not (message.upgrade and is_websocket(message))
        and not message.chunked
        and "Expect" not in message.headers
    )


def is_websocket(message: Any) -> bool:
    return bool(message.headers.get("Upgrade", "").lower() == "websocket")


def body_length(message: Any) -> int:
    """Of a request whose body is not in chunks; the parser has seen that it is a number."""
    return int(message.headers.get("Content-Length", "0"))


def _is_small(message: Any) -> bool:
    length = message.headers.get("Content-Length", "")
    return len(length) <= 5 and length.isascii() and length.isdigit() and int(length) <= MAX_BODY_BYTES


def written(response: web.Response, method: str) -> bytes:
    """The whole answer, with the headers that aiohttp gives one."""
    headers, body, status = response.headers, response.body or b"", response.status
    if status != 204 and (body or (method != "HEAD" and status != 304)):
        headers["Content-Length"] = str(len(body))  # type: ignore[arg-type]
    if body and method != "HEAD" and status not in (204, 304):
        headers.setdefault("Content-Type", "application/octet-stream")
    headers.setdefault("Date", rfc822_formatted_time())
    headers.setdefault("Server", SERVER_SOFTWARE)
    head = _serialize_headers(f"HTTP/1.1 {response.status} {response.reason}", headers)
    return head if method == "HEAD" else head + body  # type: ignore[operator]
