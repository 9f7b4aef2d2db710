"""Answers that come in pieces while something goes on: lines of JSON, frames. The status code is sent with
the first piece; what fails later is a piece of its own, in the form that the answer's readers know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeVar

from aiohttp import web

from agent.api import errors
from agent.api.requests import context_of

log = logging.getLogger("setpoint.api")
_Item = TypeVar("_Item")


async def write_pieces(
    request: web.Request,
    content_type: str,
    items: AsyncIterator[_Item],
    packed: Callable[[_Item], bytes],
    told: Callable[[Exception], bytes],
    *,
    begins: bool = False,
    end: bytes = b"",
) -> web.StreamResponse:
    """Each item packed, and `end` when all went well; `items` is closed. told: the piece that an error is.
    One before the first piece is raised, to be an answer of its own; begins: it is a piece as well, after
    a status of 200. Not sooner: there are clients that read no more than the status, and take it for done."""
    response: web.StreamResponse | None = None
    try:
        async for item in items:
            response = response or await _begin(request, content_type)
            await response.write(packed(item))
        response = response or await _begin(request, content_type)
        if end:
            await response.write(end)
    except (ConnectionError, asyncio.CancelledError):
        raise
    except Exception as error:
        if response is None and not begins:
            raise
        response = response or await _begin(request, content_type)
        if errors.is_bug(error):
            log.exception("a bug in answering %s %s", request.method, request.path)
            context_of(request).metrics.on_bug(None, error)
        await response.write(told(error))
    finally:
        close: Callable[[], Any] | None = getattr(items, "aclose", None)
        if close is not None:
            await close()
    return response


async def _begin(request: web.Request, content_type: str) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": content_type})
    await response.prepare(request)
    return response
