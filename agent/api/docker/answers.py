"""Answers in the Docker Engine API's form: JSON with no needless spaces, and errors as {"message": …}. Pure
but for making the response."""

from __future__ import annotations

import json
from typing import Any

from aiohttp import web
from pydantic_core import to_json

from runtime.errors import SetpointError


def json_answer(data: Any, status: int = 200) -> web.Response:
    return json_bytes_answer(json_bytes(data), status)


def json_bytes(data: Any) -> bytes:
    try:
        return to_json(data)  # a third of the time of Python's own, which counts in a list of a thousand
    except ValueError:  # half of a surrogate pair, as of a file's name that is no UTF-8
        return json.dumps(data, separators=(",", ":")).encode()


def json_bytes_answer(body: bytes, status: int = 200) -> web.Response:
    return web.Response(body=body, status=status, content_type="application/json")


def no_content() -> web.Response:
    return web.Response(status=204)


def not_modified() -> web.Response:
    """It is so already."""
    return web.Response(status=304)


class Forbidden(web.HTTPForbidden):
    """403, in the daemon's words: what is not permitted to anybody."""

    def __init__(self, message: str) -> None:
        super().__init__(reason=" ".join(message.splitlines()))  # aiohttp takes one line


def message_of(error: BaseException) -> str:
    """One sentence. Errors without `op` are worded as Docker's daemon does, since clients look for that."""
    if not isinstance(error, SetpointError):
        return f"a bug in the agent: {type(error).__name__} (hint: its traceback is in the agent's log)"
    if error.op:
        return _in_go_words(str(error))
    return _in_go_words(f"{error.reason} (hint: {error.hint})" if error.hint else error.reason)


def _in_go_words(text: str) -> str:
    """The docker CLI exits with 127 or 126 by these."""
    for words in ("No such file or directory", "Permission denied", "Is a directory"):
        text = text.replace(words, words.lower())
    return text
