"""A simulated host whose Docker Engine API is asked without a socket: its handlers over the real loop and
store, and clients that break off at any turn of the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import Mock

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from agent.api import native_routes
from agent.api.answering import answer_errors
from agent.api.context import CONTEXT, Context
from agent.api.docker import routes, wishes
from agent.api.docker.auto_remove import AutoRemoval
from agent.api.docker.overrides import HEADER
from agent.api.docker.router import Router
from agent.api.upgrade import Upgraded
from agent.api.ways import Inbound, Way
from agent.manifest.objects import Manifest
from agent.manifest.reader import read
from agent.metrics import Metrics
from agent.reconcile.knowledge import LoopSettings
from agent.reconcile.writer import Writer
from agent.settings import Settings
from agent.source.source import Revision
from runtime.errors import Conflict, NotFound
from runtime.images.collection import Asked, Judgement
from runtime.images.container_commit import Commit
from runtime.images.index import Record
from runtime.images.reference import parse_reference
from runtime.layout import Layout
from runtime.model import ImageInfo
from tests.sim.fake_engine import BUSYBOX, FakeEngine
from tests.sim.host import Host

NOWHERE = Path("/nonexistent")
OLD_SECONDS = 60.0  # an agent that is so old is asked nothing again that was asked of the one before
LONGEST_TURNS = 1000
EXEC_SECONDS = 5.0


class Checkpoints:
    """names: of each container. One that is to stop stays frozen until somebody does stop it."""

    def __init__(self, engine: ApiEngine) -> None:
        self._engine = engine
        self._frozen: set[str] = set()
        self.names: dict[str, list[str]] = {}

    def choose_none(self, _id: str) -> None:
        """A start begins from nothing."""

    async def create(self, id: str, name: str, _directory: str, *, leaves_running: bool) -> None:
        if name in self.names.get(id, ()):
            raise Conflict("checkpoint", id, f"it has a checkpoint {name}")
        self._frozen.add(id)
        await self._engine.pause(id)
        for _ in range(3):
            await asyncio.sleep(0)
        self.names.setdefault(id, []).append(name)
        await asyncio.sleep(0)
        if leaves_running:
            await self.go_on(id)

    async def go_on(self, id: str) -> None:
        if id in self._frozen:
            self._frozen.discard(id)
            if any(state.id == id and state.phase == "paused" for state in self._engine.list()):
                await self._engine.resume(id)

    async def open(self) -> None:
        """An agent begins: what one before it left frozen goes on."""
        for id in tuple(self._frozen):
            await self.go_on(id)


class Images(dict[str, ImageInfo]):
    """By familiar name."""

    def records(self) -> tuple[Record, ...]:
        names = {name: parse_reference(name).canonical for name in self}
        return tuple(
            Record(names[name], image.id, image.id, 0, "", image.size_bytes) for name, image in self.items()
        )

    def are_read(self, most: int) -> bool:
        """Those here are few, and in memory; the answer takes a turn."""
        return len(self) <= most

    def list(self) -> tuple[ImageInfo, ...]:
        return tuple(self.values())

    def tag(self, source: str, name: str) -> None:
        image = self.get(parse_reference(source).familiar)
        self[parse_reference(name).familiar] = image or next(i for i in self.values() if i.id == source)


class Files:
    """What a commit asks for."""

    def __init__(self, images: Images) -> None:
        self._images = images
        self.number = 0

    async def commit(self, _id: str, wanted: Commit, *, pauses: bool) -> ImageInfo:
        assert pauses
        for _ in range(4):
            await asyncio.sleep(0)
        self.number += 1
        name = parse_reference(wanted.name).familiar
        made = replace(BUSYBOX, id=f"sha256:{self.number:064x}", names=(name,))
        self._images[name] = made
        await asyncio.sleep(0)
        return made


class Keeper:
    """What a prune asks for."""

    def __init__(self, engine: ApiEngine) -> None:
        self._engine = engine

    async def prune(self, _asked: Asked, spared: Mapping[str, str]) -> tuple[Judgement, ...]:
        await self._engine._begin("prune", "images")
        used = {state.image for state in self._engine.list()} | spared.keys()
        gone = [(name, image) for name, image in self._engine.images.items() if image.id not in used]
        for name, _ in gone:
            del self._engine.images[name]
        await asyncio.sleep(0)
        return tuple(
            Judgement(image.id, (name,), True, "", 0.0, image.size_bytes, image.size_bytes)
            for name, image in gone
        )


class Listener:
    """The connection of a client that says nothing and takes all."""

    async def wait_taken(self, _seconds: float) -> None:
        await asyncio.sleep(0)

    async def write(self, _data: bytes | memoryview) -> None:
        await asyncio.sleep(0)

    def close(self) -> None:
        """Its client has all."""


@dataclass
class Executed:
    """A process of an exec, without output. It ends after a while, whatever becomes of the agent."""

    pid: int
    stdin = stdout = stderr = -1
    is_released: bool = False
    telling: asyncio.Task[None] | None = None

    def when_ended(self, tell: Callable[[int | None], None]) -> None:
        async def end() -> None:
            await asyncio.sleep(EXEC_SECONDS)
            tell(3)

        self.telling = asyncio.get_running_loop().create_task(end())  # goes with the agent

    async def resize(self, rows: int, columns: int) -> None:
        await asyncio.sleep(0)

    def close_stdin(self) -> None:
        """It has none."""

    def release(self) -> None:
        self.is_released = True


class ApiEngine(FakeEngine):
    """With what the API asks beyond `runtime.face`."""

    images: Images
    _moments = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.checkpoints = Checkpoints(self)
        self.images = Images(self.images)
        self.files = Files(self.images)
        self.executed: list[Executed] = []

    def image(self, reference: str) -> ImageInfo | None:
        by_id = next((image for image in self.images.values() if image.id == reference), None)
        return by_id or self.images.get(parse_reference(reference).familiar)

    async def start_exec(self, id: str, _argv: Sequence[str], **_how: Any) -> Executed:
        await self._begin("start_exec", id)
        self.executed.append(Executed(len(self.executed) + 2))
        await asyncio.sleep(0)
        return self.executed[-1]

    async def remove_image(self, reference: str, *, force: bool = False) -> tuple[str, ...]:  # type: ignore[override]
        await self._begin("remove_image", reference)
        name = parse_reference(reference).familiar
        if name not in self.images:
            raise NotFound("remove image", name, "no such image")
        del self.images[name]
        await asyncio.sleep(0)
        return (name,)

    def list_images(self) -> tuple[ImageInfo, ...]:
        return tuple(self.images.values())

    def wall(self) -> float:
        """No two are the same, though no time passes."""
        self._moments += 1
        return super().wall() + self._moments / 1e6

    @property
    def names(self) -> dict[str, str]:
        return {state.name: state.id for state in self.list()}

    def ids_with(self, prefix: str) -> list[str]:
        return [state.id for state in self.list() if state.id.startswith(prefix)]

    def tell_names(self) -> None:
        """Nobody asks by name here."""

    def holders_of(self, volume: str) -> tuple[str, ...]:
        return self.volume_holders().get(volume, ())

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
    override: str = ""  # for how long what a manifest owns is taken into somebody's own hands


@dataclass(frozen=True)
class Answer:
    """status: 0 for a client that had gone."""

    status: int
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


GONE = Answer(0)


class ApiHost(Host):
    """`ask` is a client that waits; `break_off` one that goes away after so many turns of the event loop, and
    `die_over` one whose agent is killed then."""

    engine: ApiEngine

    def __init__(self) -> None:
        super().__init__(engine=ApiEngine, settings=LoopSettings())
        self.run(OLD_SECONDS)

    def boot(self) -> None:
        self.do(self.engine.checkpoints.open())
        super().boot()
        self.context = self.do(self._context())
        self.app = web.Application()
        self.app._router = Router()  # as the server's
        native_routes.add_routes(self.app)
        routes.add_routes(self.app)
        self.app[CONTEXT] = self.context
        self.loop.on_exit(self.context.exits.add)
        removal = AutoRemoval(self.context)
        self.loop.on_verdict(removal.look)
        self.do(self._look_at_all(removal))

    async def _look_at_all(self, removal: AutoRemoval) -> None:
        """The loop was begun a moment before, and has told of its first verdicts."""
        for key in list(self.loop.objects()):
            removal.look(key)

    async def _context(self) -> Context:
        none = cast(Any, None)
        follower = cast(Any, SimpleNamespace(files=dict, tree_of=lambda _path: ""))
        settings = Settings(layout=Layout("sim", NOWHERE / "lib", NOWHERE / "run"), watch=NOWHERE)
        return Context(
            settings=settings, loop=self.loop, engine=self.engine, store=self.store, follower=follower,
            room=none, images=cast(Any, Keeper(self.engine)), updates=none, verifier=none,
            metrics=Metrics("0"), version="0", read_files=_read, stop=none, started_at=self.clock.now(),
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
        if call.override:
            headers[HEADER] = call.override
        request = make_mocked_request(call.method, call.path, headers, app=self.app, protocol=connection)
        match = await self.app.router.resolve(request)
        match.add_app(self.app)
        request._match_info = match
        request._read_bytes = json.dumps(call.body).encode() if call.body is not None else b""
        response = await answer_errors(request, match.handler)
        if isinstance(response, Upgraded):
            return Answer(101)
        assert isinstance(response, web.Response)
        return Answer(response.status, cast(bytes, response.body) or b"")


async def _read(files: Mapping[str, bytes]) -> Manifest:
    revision = Revision(id="plan", source="plan", files=files, tree_of=lambda _path: "")
    return await asyncio.to_thread(read, revision)


End = Callable[["ApiHost", Call, int], Answer]
"""Who goes in the middle of a call: `ApiHost.break_off` or `ApiHost.die_over`."""


def threads_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Virtual time waits for no thread: what one does takes two turns here."""

    async def in_two_turns(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        await asyncio.sleep(0)
        done = function(*arguments, **named)
        await asyncio.sleep(0)
        return done

    def begin(
        _writer: Writer, work: Callable[[], Exception | None], done: Callable[[Exception | None], None]
    ) -> None:
        async def work_and_tell() -> None:
            error: Exception | None = RuntimeError("killed")
            try:
                error = await in_two_turns(work)
            finally:
                done(error)

        writes.append(asyncio.get_running_loop().create_task(work_and_tell()))

    writes: list[asyncio.Task[None]] = []
    monkeypatch.setattr(asyncio, "to_thread", in_two_turns)
    monkeypatch.setattr(Writer, "begin", begin)
    monkeypatch.setattr(wishes, "time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time()))


def hosts(
    end: End,
    call: Call | Callable[[ApiHost], Call],
    *before: Call | Callable[[ApiHost], None],
    turns: int = 0,
) -> Iterator[tuple[ApiHost, Answer, str]]:
    """A host for each turn at which the call may end, up to the one at which it is answered; and what a
    failed assertion is to say. turns: of a call that lasts for seconds."""
    for turn in range(turns or LONGEST_TURNS):
        with contextlib.closing(ApiHost()) as host:
            for each in before:
                if isinstance(each, Call):
                    assert host.ask(each).status in (200, 201, 204), each
                else:
                    each(host)
            answer = end(host, call if isinstance(call, Call) else call(host), turn)
            yield host, answer, f"after {turn} turns: {answer}"
            assert not host.observer.bugs and not host.engine.violations, turn
        if answer != GONE:
            assert turn > 1, "it is done in one turn"
            return
    assert turns, "it is not answered"
