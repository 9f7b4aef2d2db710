"""Docker calls on what a manifest owns. They are refused (409, with file and line), unless the caller says
for how long it takes the container into its own hands:

    X-Setpoint-Override: 1h        docker CLI: {"HttpHeaders": {"X-Setpoint-Override": "1h"}} in config.json

Then the object is left alone until that time, `status` says so, and the engine is called directly.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from agent.api import override
from agent.api.at_once import begun_at_once
from agent.api.context import Context
from agent.api.docker import body_limits
from agent.api.docker.answers import json_answer, no_content, not_modified
from agent.api.docker.bodies import json_body, map_of
from agent.api.docker.completing import completed
from agent.api.docker.container_body import checked_signal
from agent.api.docker.finding import find_container, record_of
from agent.api.requests import context_of
from agent.manifest.parse_values import to_duration
from agent.manifest.reading import Refuse
from agent.manifest.spec import ContainerSpec
from agent.reconcile.api_objects import API_OWNER
from agent.reconcile.convert import resources_of
from agent.reconcile.inventory import spec_of
from runtime.errors import Conflict, Invalid
from runtime.model import ContainerState, Resources

HEADER = "X-Setpoint-Override"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
DONE_ALREADY = {"start": ("running",), "stop": ("stopped", "created")}


def may(what: str, handler: Handler) -> Handler:
    """The handler, but for a request that overrides what a manifest owns."""

    @begun_at_once
    async def handle(request: web.Request) -> web.StreamResponse:
        if HEADER not in request.headers:
            return await handler(request)
        context = context_of(request)
        state = find_container(context, request.match_info["id"])
        way = _way(request)
        limits = await _limits(context, request, state) if what == "update" else None

        async def carry_out() -> web.StreamResponse | None:
            if not await begin(context, request, state, what):
                return None
            if limits is not None:
                await context.engine.update(state.id, limits)
                context.loop.look_at(state.id)  # no event tells of it
                return json_answer({"Warnings": []})
            if state.phase in DONE_ALREADY.get(what, ()):
                return not_modified()
            await override.carry_out(context, state, what, way)
            return no_content()

        answer = await completed(carry_out())
        return answer if answer is not None else await handler(request)

    return handle


async def begin(context: Context, request: web.Request, state: ContainerState, what: str) -> bool:
    """Whether the caller may do this now, since it overrides the manifest that owns the container. False:
    nothing is to be overridden. Invalid for a header that is no duration."""
    key, record = record_of(context, state)
    if HEADER not in request.headers or key is None or record is None or record.owner == API_OWNER:
        return False
    await override.begin(context, key, seconds_of(request.headers[HEADER]), f"API: {what}")
    return True


def seconds_of(text: str) -> float:
    try:
        return to_duration(text.strip())
    except Refuse:
        raise Invalid("", "", f"{HEADER}: {text[:40]!r} is not a duration, such as 1h or 30m") from None


def _way(request: web.Request) -> override.Way:
    """?t= seconds, below 0 for ever; ?signal=."""
    text, signal = request.query.get("t", ""), request.query.get("signal", "")
    try:
        seconds = float(int(text)) if text else None
    except ValueError:
        raise Invalid("", "", f"invalid value for t: {text[:20]!r}") from None
    if seconds is not None and not 0 <= seconds <= override.MOST_SECONDS:
        seconds = override.MOST_SECONDS
    return override.Way(seconds, checked_signal(signal) if signal else "")


async def _limits(context: Context, request: web.Request, state: ContainerState) -> Resources | None:
    """Those that an update asks for; None where no manifest owns the container. The restart policy is the
    loop's, which lets go for a while."""
    body = await json_body(request)
    _key, record = record_of(context, state)
    if record is None or record.owner == API_OWNER:
        return None
    spec = spec_of(record)
    if map_of(body, "RestartPolicy").get("Name"):
        raise Conflict("update", state.name, "a restart policy cannot be overridden", "change its manifest")
    if not isinstance(spec, ContainerSpec):
        raise Conflict("update", state.name, "what its manifest says is not known yet")
    return resources_of(_limited(spec, body))


def _limited(spec: ContainerSpec, body: Mapping[str, Any]) -> ContainerSpec:
    """With the limits that are said; what the body does not say stays."""
    said = {name: value for name, value in body.items() if value not in (None, 0, "", {}, [])}
    return ContainerSpec.model_validate(
        {**spec.model_dump(exclude_unset=True), **body_limits.limits_of(said)}
    )
