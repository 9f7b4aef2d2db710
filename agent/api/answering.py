"""How a request is answered, whatever it asks for: errors become answers here and nowhere else, and every
answer of the Docker Engine API bears the headers that its clients read. Used by `server`.

    request ─> a connection that waits for it ─> `AtOnce`: the handler's `now`, or its first step ─> one write
                                             └─> aiohttp: a task ─> the middlewares ─> the handler

Both ways go through the same guards in the same order.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from aiohttp import web
from aiohttp.http_writer import StreamWriter

from agent.api import errors, guards
from agent.api.at_once import is_begun_at_once, now_of
from agent.api.context import CONTEXT
from agent.api.docker import versions
from agent.api.docker.answers import json_answer, message_of
from agent.api.docker.host_facts import can_checkpoint
from agent.api.guards import Handler
from agent.api.upgrade import BEGUN
from agent.api.ways import way_of
from agent.first_step import Waits, first_step
from agent.wire import PREFIX

log = logging.getLogger("setpoint.api")


def is_native(request: web.BaseRequest) -> bool:
    return request.path.startswith(PREFIX + "/")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Of an answer that is about to be sent by aiohttp."""
    request[BEGUN] = True
    _add_headers(request, response)


def _add_headers(request: web.BaseRequest, response: web.StreamResponse) -> None:
    if not is_native(request):
        response.headers.update(versions.headers(is_experimental=can_checkpoint()))


# --- in a task ------------------------------------------------------------------------------------


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Around all that can go wrong."""
    try:
        _check_version(request)
        response = await handler(request)
    except asyncio.CancelledError:
        raise
    except Exception as error:
        if isinstance(error, ConnectionError) and _is_gone(request):
            raise  # aiohttp ends the connection; there is nobody to answer
        response = _answer_to(request, error)
    request.app[CONTEXT].metrics.on_request(response.status)
    return response


def _check_version(request: web.Request) -> None:
    if version := request.match_info.get("version"):
        versions.check(version)


def _answer_to(request: web.Request, error: Exception) -> web.Response:
    if isinstance(error, web.HTTPException):
        return _refused(request, error)
    if errors.is_bug(error):
        log.error("a bug in answering %s %s", request.method, request.path, exc_info=error)
        request.app[CONTEXT].metrics.on_bug(None, error)
    if request.get(BEGUN):  # a second head would be read as its body: the client sees that it broke off
        if request.transport is not None:
            request.transport.close()
        raise ConnectionResetError("the answer had begun") from error
    status = errors.status_of(error)
    if is_native(request):
        return _refusal(status, errors.to_json(error))
    return json_answer({"message": message_of(error)}, status)


def _is_gone(request: web.BaseRequest) -> bool:
    """The client has closed, while it was being answered."""
    return request.transport is None or request.transport.is_closing()


def _refused(request: web.Request, error: web.HTTPException) -> web.Response:
    """No such path or method, or a body that is too long: what aiohttp itself says."""
    if is_native(request):
        answer = _refusal(error.status, {"kind": "Invalid", "reason": error.reason, "subject": request.path})
        if allow := error.headers.get("Allow"):
            answer.headers["Allow"] = allow
        return answer
    return json_answer({"message": "page not found" if error.status == 404 else error.reason}, error.status)


def _refusal(status: int, error: dict[str, Any]) -> web.Response:
    whole = {"kind": "Invalid", "op": "answer", "subject": "", "reason": "", "hint": "", **error}
    return web.json_response({"error": whole}, status=status)


# --- at once --------------------------------------------------------------------------------------


class AtOnce:
    """Answers what needs no wait, where it was read, and begins what mostly needs none. Not on a way with a
    scope, whose every call is written to an audit log."""

    def __init__(self, app: web.Application) -> None:
        self._app = app

    def __call__(
        self, request: web.Request
    ) -> web.StreamResponse | Coroutine[Any, Any, web.StreamResponse] | None:
        """None for what is to be answered by aiohttp; of what was begun, and waits, the rest."""
        way = way_of(request)
        if way.scope is not None:
            return None
        match = self._match(request)
        now = now_of(match.handler)
        if now is None and not is_begun_at_once(match.handler):
            return None
        match.add_app(self._app)
        request._match_info = match
        response: web.StreamResponse | Waits | None
        try:
            _check_version(request)
            guards.check_head(request, way)
            response = now(request) if now is not None else None
            if response is None and is_begun_at_once(match.handler):
                response = _begin(request, match.handler)
        except Exception as error:
            response = _answer_to(request, error)  # a ConnectionError ends what was taken over
        if isinstance(response, Waits):
            return self._finish(request, response)
        if response is not None and response.prepared:
            return self._end(request, response)
        return self._told(request, response) if response is not None else None

    async def _finish(self, request: web.Request, begun: Waits) -> web.StreamResponse:
        response: web.StreamResponse
        try:
            response = await begun.goes_on()
        except Exception as error:
            if isinstance(error, ConnectionError) and _is_gone(request):
                raise  # there is nobody to answer
            response = _answer_to(request, error)
        return await self._end(request, response) if response.prepared else self._told(request, response)

    async def _end(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        """Of an answer that was sent in pieces."""
        await response.write_eof()
        self._app[CONTEXT].metrics.on_request(response.status)
        return response

    def _told(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        self._app[CONTEXT].metrics.on_request(response.status)
        _add_headers(request, response)
        return response

    def _match(self, request: web.Request) -> web.UrlMappingMatchInfo:
        """aiohttp's router is a coroutine that waits for nothing."""
        try:
            self._app.router.resolve(request).send(None)
        except StopIteration as done:
            match: web.UrlMappingMatchInfo = done.value
            return match
        raise RuntimeError("the router waits")


def _begin(request: web.Request, handler: Handler) -> web.StreamResponse | Waits:
    if request.body_exists:
        request._read_bytes = request.content.read_nowait()
    # What an answer is sent by in pieces, if it is.
    request._payload_writer = StreamWriter(request.protocol, asyncio.get_running_loop())
    return first_step(handler(request))  # type: ignore[arg-type]
