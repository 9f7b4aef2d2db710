"""Builds of images beside an engine: each in a process of its own, its RUN steps as the engine's containers.

    order ─> python -m runtime.images.build.worker ─ asks ─> base images, steps
                         └─ events ─> who asked, and the history

Called by the agent, in the event loop. A build that nobody waits for any more is ended, with all it ran. What
a killed agent left of one is removed by `open`: containers by their label, files by their names.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from runtime.build_caller import NOBODY, BuildCaller
from runtime.build_history import History, Record
from runtime.build_recipe import BuildRecipe, FetchGit, FindContext, GitWish, Given
from runtime.build_spares import Spares
from runtime.build_steps import BuildSteps, StepLimits
from runtime.errors import Invalid, SetpointError, Temporary, Unsupported
from runtime.fence import Fence
from runtime.images.build.asks import error_from, error_to
from runtime.images.build.exchange import take_in
from runtime.images.build.order import BuildOrder, NamedKind, Network, to_json
from runtime.images.facts import Admit, facts_from_json
from runtime.images.reference import parse_reference
from runtime.model import ImageInfo
from runtime.pulls import Wish

if TYPE_CHECKING:
    from runtime.engine import NativeEngine

AT_ONCE = 4
Report = Callable[[Mapping[str, Any]], None]
GetImage = Callable[[str, bool], Awaitable[ImageInfo]]
"""(reference, whether to ask the registry though it is here) -> the image."""


class Builds:
    """engine: the one that this is a part of. find_context: where a recipe's files are;
    fetch_git: brings trees of repositories. None: it has none."""

    def __init__(
        self, engine: NativeEngine, find_context: FindContext | None = None, fetch_git: FetchGit | None = None
    ) -> None:
        self._engine = engine
        self._fetch_git = fetch_git
        self._find_context = find_context
        self._layout = engine.layout
        self._steps = BuildSteps(engine)
        self._room = asyncio.Semaphore(AT_ONCE)
        self._running: dict[str, asyncio.Task[Any] | None] = {}
        self._names: dict[str, str] = {}
        self._spares = Spares(self._layout, engine.fences[self._layout.build_cgroup])
        self.history = History(self._layout.builds / "history")

    async def open(self) -> None:
        """Remove what builds of an agent that ended have left."""
        await self._steps.clear()
        await asyncio.to_thread(self._clear_files)

    def _clear_files(self) -> None:
        shutil.rmtree(self._layout.run_builds, ignore_errors=True)
        for path in self._layout.builds.glob("git-*"):
            shutil.rmtree(path, ignore_errors=True)
        self.history.close_broken()

    async def close(self) -> None:
        """Give up what is under way."""
        works = [task for task in self._running.values() if task is not None]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
        await self._spares.close()

    def cancel(self, name: str) -> None:
        """End builds that their callers call so. One that is not there has ended."""
        for id, task in list(self._running.items()):
            if name and task is not None and self._names.get(id) == name:
                task.cancel()

    async def _get_image(self, caller: BuildCaller, reference: str, pull: bool) -> ImageInfo:
        """A base image: one that is here, unless the registry is to be asked; as the policy allows."""
        if caller.check_image is not None:
            caller.check_image(reference)
        image = None if pull else self._engine.image(reference)
        if image is None:
            credential = None
            if caller.credential is not None:
                credential = await caller.credential(parse_reference(reference).domain)
            await self._engine.pulls.pull(Wish(reference, credential=credential))
        admitted = partial(asyncio.to_thread, self._engine.images.admitted, "build image", reference)
        try:
            return await admitted()
        except Invalid as refused:  # of one that is here, a younger rule may ask for signatures
            if image is None or not await self._bring_signatures(reference, refused):
                raise
        return await admitted()

    async def _bring_signatures(self, reference: str, refused: Invalid) -> bool:
        """Whether there was somebody to ask."""
        try:
            return await self._engine.signatures.bring(reference)
        except SetpointError as failure:
            reason = f"{refused.reason}; {failure.reason}"
            raise Temporary(refused.op, refused.subject, reason, failure.hint) from failure

    async def run(
        self,
        order: BuildOrder,
        report: Report,
        limits: StepLimits = StepLimits(),
        caller: BuildCaller = NOBODY,
    ) -> ImageInfo:
        """The image. report hears each event: {"kind": "step" | "log" | "end" | "base" | "remark", …}."""
        async with self._room, contextlib.AsyncExitStack() as stack:
            self._running[order.id] = asyncio.current_task()
            self._names[order.id] = caller.name
            record = await asyncio.to_thread(self.history.begin, _summary(order))
            admit = partial(self._engine.images.admit, "build image")
            trees = Trees(self._fetch_git, stack)
            await self._take_caches(order, record, report)
            sources = _Sources(partial(self._get_image, caller), admit, trees, caller)
            build = _Build(order, record, report, limits, self._steps, sources)
            try:
                image_id = await build.run(await self._spares.take(), self._spares.fence)
                image = self._engine.image(image_id)
                if image is None:
                    raise Temporary("build image", image_id[:19], "it was removed as it was made", "again")
                if order.cache_to:
                    await self._engine.push_image(order.cache_to)
                record.end(state="done", image=image.id, ended_at=time.time(), **build.counts())
                return image
            except BaseException as error:
                said = str(error) if isinstance(error, SetpointError) else type(error).__name__
                is_cancelled = isinstance(error, asyncio.CancelledError)
                said = "cancelled" if is_cancelled else said
                record.end(state="failed", error=said, ended_at=time.time(), **build.counts())
                raise
            finally:
                await asyncio.shield(self._end(order.id))

    async def _take_caches(self, order: BuildOrder, record: Record, report: Report) -> None:
        """What registries have of steps; a build goes on without."""
        for reference in order.cache_from:
            try:
                image = await self._engine.pull_image(reference)
                count = await asyncio.to_thread(take_in, self._layout.images, image.id)
                text = f"cache of {reference}: {count} steps that were not here"
            except SetpointError as error:
                text = f"no cache of {reference}: {error.reason}"
            event = {"kind": "remark", "line": 0, "text": text}
            record.add(event)
            report(event)

    async def run_recipe(self, reference: str, recipe: BuildRecipe) -> ImageInfo:
        """What a manifest says, under the name that it has there, and others."""
        if self._find_context is None:
            raise Unsupported("build image", reference, "this engine knows no source")
        async with contextlib.AsyncExitStack() as stack:
            opened = self._find_context(recipe)
            given = await asyncio.to_thread(opened.__enter__)
            stack.push_async_callback(asyncio.to_thread, opened.__exit__, None, None, None)
            limits = StepLimits(
                shm_bytes=recipe.shm_bytes, ulimits=recipe.ulimits, extra_hosts=recipe.extra_hosts
            )
            order = _order_of(reference, recipe, given)
            return await self.run(order, lambda event: None, limits)

    async def _end(self, id: str) -> None:
        self._running.pop(id, None)
        self._names.pop(id, None)
        await self._steps.clear(id)
        await asyncio.to_thread(shutil.rmtree, self._layout.run_builds / id, ignore_errors=True)
        if not self._running:
            await self._steps.end_network()
            await self._spares.make()


class Trees:
    """Trees of repositories elsewhere, for one build; they are there until `stack` is closed."""

    def __init__(self, fetch_git: FetchGit | None, stack: contextlib.AsyncExitStack) -> None:
        self._fetch_git = fetch_git
        self._stack = stack

    async def fetch(self, wish: GitWish) -> dict[str, str]:
        """{"path": of a tar, "tree": its id}."""
        if self._fetch_git is None:
            raise Unsupported("fetch repository", wish.url, "this engine knows no git")
        opened = self._fetch_git(wish)
        path, tree = await asyncio.to_thread(opened.__enter__)
        self._stack.push_async_callback(asyncio.to_thread, opened.__exit__, None, None, None)
        return {"path": path, "tree": tree}

    async def with_context(self, order: BuildOrder) -> BuildOrder:
        """The order with a repository as a context brought here."""
        if order.context_kind != "git":
            return order
        url, _, fragment = order.context.partition("#")
        ref, _, subdir = fragment.partition(":")
        wish = GitWish(
            url, ref, subdir, reaches_host=order.network == "host", is_trusted=order.is_trusted
        )  # fmt: skip
        return replace(order, context_kind="tar", context=(await self.fetch(wish))["path"])


@dataclass(frozen=True, slots=True)
class _Sources:
    """Where a build's process gets what it asks for."""

    get_image: GetImage
    admit: Admit
    trees: Trees
    caller: BuildCaller


class _Build:
    """One build's process, and what it asks."""

    def __init__(
        self,
        order: BuildOrder,
        record: Record,
        report: Report,
        limits: StepLimits,
        steps: BuildSteps,
        sources: _Sources,
    ) -> None:
        self._caller = sources.caller
        self._asked: dict[str, bytes] = {}  # secrets that the caller was asked for
        self._order = order
        self._record = record
        self._report = report
        self._limits = limits
        self._steps = steps
        self._get_image = sources.get_image
        self._admit = sources.admit
        self._trees = sources.trees
        self._answering: set[asyncio.Task[None]] = set()
        self._ends: dict[str, int] = {}

    def counts(self) -> dict[str, int]:
        """How many steps were run, and how many were there already."""
        return {"run": self._ends.get("done", 0), "cached": self._ends.get("cached", 0)}

    async def run(self, process: asyncio.subprocess.Process, fence: Fence) -> str:
        assert process.stdin is not None and process.stdout is not None
        oom_kills = fence.oom_kills()
        try:
            self._send(process.stdin, to_json(await self._trees.with_context(self._order)))
            last: dict[str, Any] = {}
            async for line in process.stdout:
                last = json.loads(line)
                if "event" in last:
                    self._hear(last["event"])
                elif "ask" in last:
                    self._begin(process.stdin, last)
            await process.wait()
        finally:
            for task in self._answering:
                task.cancel()
            await asyncio.gather(*self._answering, return_exceptions=True)
            if process.returncode is None:
                process.kill()
                await process.wait()
        if "error" in last:
            raise error_from(last["error"])
        if "found" in last:
            return str(last["found"])
        reason = f"its process ended with status {process.returncode}"
        hint = "it may have used too much memory"
        raise fence.explained(Temporary("build image", self._order.id[:12], reason, hint), oom_kills)

    def _hear(self, event: Mapping[str, Any]) -> None:
        if event.get("kind") == "end":
            how = str(event.get("how"))
            self._ends[how] = self._ends.get(how, 0) + 1
        self._record.add(event)
        self._report(event)

    def _send(self, stream: asyncio.StreamWriter, value: Mapping[str, Any]) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            stream.write(json.dumps(value).encode() + b"\n")

    def _begin(self, stream: asyncio.StreamWriter, question: Mapping[str, Any]) -> None:
        task = asyncio.ensure_future(self._answer(stream, question))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, stream: asyncio.StreamWriter, question: Mapping[str, Any]) -> None:
        answer: dict[str, Any] = {"answer": question["ask"]}
        try:
            answer["value"] = await self._value(question)
        except SetpointError as error:
            answer["error"] = error_to(error)
        except Exception as error:
            said = SetpointError("build image", "", f"internal error, please report it: {error!r}")
            answer["error"] = error_to(said)
        self._send(stream, answer)

    async def _value(self, question: Mapping[str, Any]) -> Any:
        match question["kind"]:
            case "image":
                return (await self._get_image(str(question["reference"]), bool(question["pull"]))).id
            case "git":
                return await self._trees.fetch(
                    GitWish(
                        str(question["url"]), str(question["ref"]), str(question["subdir"]),
                        str(question["commit"]), bool(question["reaches_host"]),
                    )
                )  # fmt: skip
            case "admit":
                return await asyncio.to_thread(self._admit, facts_from_json(question["facts"]))
            case "run":
                return await self._steps.run(
                    self._order.id, question, self._limits, self._on_line(int(question["step"]))
                )
            case "cancel":
                return await self._steps.clear(self._order.id)
            case "secret":
                return await self._secret(str(question["id"]))
            case "context":
                return await self._context(question["paths"])
            case "ssh":
                return None if self._caller.ssh is None else await self._caller.ssh(str(question["id"]))
            case "forget":
                return await self._steps.forget(self._order.id, int(question["step"]))
            case kind:
                raise Invalid("build image", str(kind), "not a question")

    async def _context(self, paths: list[str] | None) -> str:
        if self._caller.context is None:
            raise Invalid("build image", "", "its caller keeps no context", "context_kind none, or tar")
        return await self._caller.context(None if paths is None else tuple(paths))

    async def _secret(self, id: str) -> str | None:
        content = None if self._caller.secret is None else await self._caller.secret(id)
        if content is None:
            return None
        self._asked[id] = content
        return base64.b64encode(content).decode()

    def _on_line(self, number: int) -> Callable[[str, bytes], None]:
        hidden = _lines_of([*self._order.secrets.values(), *self._asked.values()])

        def on_line(stream: str, line: bytes) -> None:
            for secret in hidden:  # what a step prints by mistake is no part of a log that is kept
                line = line.replace(secret, b"***")
            text = line.decode("utf-8", "replace").rstrip("\r")
            self._hear({"kind": "log", "step": number, "stream": stream, "text": text})

        return on_line


def _summary(order: BuildOrder) -> dict[str, Any]:
    """What is kept of an order: neither secrets nor the values of arguments."""
    return {
        "id": order.id, "tags": list(order.tags), "context": _plain(order.context),
        "dockerfile": order.dockerfile,
        "target": order.target, "arguments": sorted(order.arguments), "state": "running",
        "started_at": time.time(),
    }  # fmt: skip


def _order_of(reference: str, recipe: BuildRecipe, given: Given) -> BuildOrder:
    kind, path = given.context
    images: dict[str, tuple[NamedKind, str]] = {
        name: ("image", source.image) for name, source in recipe.named.items() if source.image
    }
    return BuildOrder(
        new_id(), kind, path, recipe.dockerfile, recipe.dockerfile_text, (reference, *recipe.tags),
        recipe.target, recipe.arguments, recipe.labels, _network(recipe.network), recipe.no_cache,
        recipe.pull, recipe.platform, given.secrets, given.ssh, cache_from=recipe.cache_from,
        cache_to=recipe.cache_to, contexts={**images, **given.named},
    )  # fmt: skip


def new_id() -> str:
    return os.urandom(16).hex()


def _network(text: str) -> Network:
    match text:
        case "none" | "host":
            return text
        case _:
            return "default"


def _plain(context: str) -> str:
    """Without the password of a URL."""
    scheme, separator, rest = context.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}" if separator else context


def _lines_of(secrets: Iterable[bytes]) -> list[bytes]:
    """What is looked for in output, longest first: whole secrets of a line, and the lines of others that are
    long enough to say something."""
    found: set[bytes] = set()
    for content in secrets:
        lines = [line.strip() for line in content.splitlines() if line.strip()]
        least = 4 if len(lines) == 1 else 8
        found |= {line for line in lines if len(line) >= least}
    return sorted(found, key=len, reverse=True)
