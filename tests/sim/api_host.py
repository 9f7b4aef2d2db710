"""A simulated host whose Docker Engine API is asked without a socket: its handlers over the real loop and
store, and clients that break off at any turn of the event loop.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest.mock import Mock

from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.api.answering import answer_errors
from agent.api.context import CONTEXT, Context
from agent.api.docker import routes
from agent.api.docker.auto_remove import AutoRemoval
from agent.api.docker.router import Router
from agent.api.ways import Inbound, Way
from agent.metrics import Metrics
from agent.reconcile.knowledge import LoopSettings
from agent.settings import Settings
from runtime.layout import Layout
from tests.sim.fake_engine import FakeEngine
from tests.sim.host import Host

NOWHERE = Path("/nonexistent")
OLD_SECONDS = 60.0  # an agent that is so old is asked nothing again that was asked of the one before
LONGEST_TURNS = 1000


class NoCheckpoints:
    def choose_none(self, _id: str) -> None:
        """A start begins from nothing."""


class ApiEngine(FakeEngine):
    """With what the API asks beyond `runtime.face`."""

    checkpoints = NoCheckpoints()
    _moments = 0

    def wall(self) -> float:
        """No two are the same, though no time passes."""
        self._moments += 1
        return super().wall() + self._moments / 1e6

    @property
    def names(self) -> dict[str, str]:
        return {state.name: state.id for state in self.list()}

    def ids_with(self, prefix: str) -> list[str]:
        return [state.id for state in self.list() if state.id.startswith(prefix)]

    def volume_holders(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        for container in self._containers.values():
            for mount in container.config.mounts:
                if mount.kind == "volume":
                    found[mount.source] = (*found.get(mount.source, ()), container.config.id)
        return found


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    body: Any = None


@dataclass(frozen=True)
class Answer:
    """status: 0 for a client that had gone."""

    status: int
    body: bytes = b""


GONE = Answer(0)


class ApiHost(Host):
    """`ask` is a client that waits; `break_off` one that goes away after so many turns of the event loop, and
    `die_over` one whose agent is killed then."""

    engine: ApiEngine

    def __init__(self) -> None:
        super().__init__(engine=ApiEngine, settings=LoopSettings())
        self.run(OLD_SECONDS)

    def boot(self) -> None:
        super().boot()
        self.context = self.do(self._context())
        self.app = web.Application()
        self.app._router = Router()  # as the server's
        routes.add_routes(self.app)
        self.app[CONTEXT] = self.context
        self.loop.on_exit(self.context.exits.add)
        self.loop.on_verdict(AutoRemoval(self.context).look)

    async def _context(self) -> Context:
        none = cast(Any, None)
        settings = Settings(layout=Layout("sim", NOWHERE / "lib", NOWHERE / "run"), watch=NOWHERE)
        return Context(
            settings=settings, loop=self.loop, engine=self.engine, store=self.store, follower=none,
            room=none, images=none, updates=none, verifier=none, metrics=Metrics("0"), version="0",
            read_files=none, stop=none, started_at=self.clock.now(),
        )  # fmt: skip

    # --- clients ------------------------------------------------------------------------------

    def ask(self, call: Call) -> Answer:
        return self.do(self._answer(call))

    def break_off(self, call: Call, turns: int) -> Answer:
        """The answer, where it came before."""

        async def work() -> Answer:
            answering = await self._begin(call, turns)
            if answering.done():
                return answering.result()
            answering.cancel()  # what it does at that goes on beside what is asked next
            return GONE

        return self.do(work())

    def die_over(self, call: Call, turns: int) -> Answer:
        """The answer, where it came before. Another agent is there then."""

        async def work() -> Answer:
            answering = await self._begin(call, turns)
            return answering.result() if answering.done() else GONE

        answer = self.do(work())
        self.crash()
        self.run(1.0)
        self.boot()
        return answer

    async def _begin(self, call: Call, turns: int) -> asyncio.Task[Answer]:
        answering = asyncio.get_running_loop().create_task(self._answer(call))
        for _ in range(turns):
            await asyncio.sleep(0)
            if answering.done():
                break
        return answering

    async def _answer(self, call: Call) -> Answer:
        connection: Any = Mock(spec=Inbound, way=Way("test"), ssl_context=None, peername=None, writer=None)
        headers = {"Content-Type": "application/json"}
        request = make_mocked_request(call.method, call.path, headers, app=self.app, protocol=connection)
        match = await self.app.router.resolve(request)
        match.add_app(self.app)
        request._match_info = match
        request._read_bytes = json.dumps(call.body).encode() if call.body is not None else b""
        response = await answer_errors(request, match.handler)
        assert isinstance(response, web.Response)
        return Answer(response.status, cast(bytes, response.body) or b"")
