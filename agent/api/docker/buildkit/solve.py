"""One build for a BuildKit client: its files fetched by its session, then built as any other.

attributes ─> Dockerfile, .dockerignore ─> context ─> run_build ─> image
"""

from __future__ import annotations

import contextlib
import os
import tarfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from agent.api.build_events import Ordered, run_build
from agent.api.context import Context
from agent.api.docker.buildkit.attributes import Asked
from agent.api.docker.buildkit.file_sync import FilesWish, fetch_files
from agent.api.docker.buildkit.grpc import GrpcError
from agent.api.docker.buildkit.jobs import Job
from agent.api.docker.buildkit.sessions import Session
from agent.api.docker.buildkit.ssh_agents import SshAgents
from agent.api.docker.buildkit.uploads import fetch_upload
from runtime.build_caller import BuildCaller
from runtime.errors import Invalid, NotFound, SetpointError, Temporary
from runtime.images.build.order import BuildOrder
from runtime.images.dockerfile import limits
from runtime.model import ImageInfo

_SMALL_BYTES = 4 * limits.FILE_BYTES  # of Dockerfiles and their .dockerignore
TakeFiles = Callable[[tuple[str, ...] | None], Awaitable[str]]
_EXPORT = "exporting to image"


@dataclass(frozen=True, slots=True)
class Build:
    """What one build is made with."""

    context: Context
    job: Job
    session: Session
    asked: Asked

    @property
    def directory(self) -> Path:
        """On the disk that contexts take room of."""
        return self.context.settings.layout.data

    async def run(self) -> ImageInfo:
        """The image. What went wrong is told on every vertex that had begun."""
        try:
            image = await self._run()
        except SetpointError as error:
            self.job.say(self.job.progress.fail(str(error)))
            raise
        except GrpcError as error:
            self.job.say(self.job.progress.fail(error.message))
            raise
        except ConnectionError:
            raise Temporary("build image", "", "the client's session ended") from None
        self.job.image = image
        return image

    async def _run(self) -> ImageInfo:
        async with contextlib.AsyncExitStack() as stack:
            order = await self._with_shared(stack, await self._with_files(stack))
            agents = SshAgents(self.session, self.context.settings.layout.run_builds / order.id)
            stack.push_async_callback(agents.close)
            caller = BuildCaller(
                self.session.credential, self.session.secret, agents.path_of,
                self._context_of(stack, order.ignore_text or ""), self.job.ref,
            )  # fmt: skip
            events = run_build(
                self.context, Ordered(order, self.asked.limits, caller), lambda: self.job.is_over
            )
            async with contextlib.aclosing(events):
                async for event in events:
                    if isinstance(event, ImageInfo):
                        self._tell_export(event)
                        return event
                    lost = event.get("kind") == "log"
                    self.job.say(self.job.progress.of(event), may_be_lost=lost)
        raise AssertionError("a build ends with an image or an error")

    def _tell_export(self, image: ImageInfo) -> None:
        progress = self.job.progress
        self.job.say(progress.begin(_EXPORT))
        self.job.say(progress.moved(_EXPORT, f"writing image {image.id}", 0, is_done=True))
        for name in self.job.names:
            self.job.say(progress.moved(_EXPORT, f"naming to {name}", 0, is_done=True))
        self.job.say(progress.end(_EXPORT))

    # --- files

    async def _with_files(self, stack: contextlib.AsyncExitStack) -> BuildOrder:
        asked = self.asked
        order = replace(asked.order, dockerfile=asked.dockerfile)
        if asked.is_local or asked.has_own_dockerfile:
            order = await self._with_dockerfile(order)
        if asked.upload:
            place = await stack.enter_async_context(self._uploaded(asked.upload))
            return replace(order, context_kind="tar", context=place)
        if not asked.is_local:
            return order
        if order.ignore_text is None:
            order = replace(order, ignore_text=await self._ignore_of("context", "load .dockerignore"))
        return replace(order, context_kind="caller")

    def _context_of(self, stack: contextlib.AsyncExitStack, ignored: str) -> TakeFiles:
        async def take(paths: tuple[str, ...] | None) -> str:
            wish = FilesWish("context", excludes=patterns_of(ignored), follow=paths or ())
            return await stack.enter_async_context(self._fetched(wish, "load build context"))

        return take

    async def _with_dockerfile(self, order: BuildOrder) -> BuildOrder:
        name = order.dockerfile
        ignore = f"{name}.dockerignore"
        base = name.rpartition("/")[2]
        other = name.removesuffix(base) + base.lower()
        wish = FilesWish("dockerfile", follow=(name, ignore, other), most_bytes=_SMALL_BYTES)
        async with self._fetched(wish, f"load build definition from {name}") as place:
            found = read_files(Path(place), (name, other, ignore))
        text = found.get(name, found.get(other))
        if text is None:
            raise NotFound("build image", name, "there is no such Dockerfile", "-f FILE names another")
        return replace(order, dockerfile_text=text, ignore_text=found.get(ignore))

    async def _with_shared(self, stack: contextlib.AsyncExitStack, order: BuildOrder) -> BuildOrder:
        """With the directories beside the context. Whether a stage takes files of them shows too late."""
        found = dict(order.contexts)
        for name, shared in self.asked.shared.items():
            ignored = await self._ignore_of(shared, f"load .dockerignore of {name}")
            wish = FilesWish(shared, excludes=patterns_of(ignored))
            found[name] = ("tar", await stack.enter_async_context(self._fetched(wish, f"load {name}")))
        return replace(order, contexts=found)

    async def _ignore_of(self, shared: str, what: str) -> str:
        wish = FilesWish(shared, follow=(".dockerignore",), most_bytes=_SMALL_BYTES)
        async with self._fetched(wish, what) as place:
            return read_files(Path(place), (".dockerignore",)).get(".dockerignore", "")

    @contextlib.asynccontextmanager
    async def _fetched(self, wish: FilesWish, what: str) -> AsyncIterator[str]:
        """The path of a tar, which is there within the context."""
        name, progress = f"[internal] {what}", self.job.progress
        size, told = 0, 0
        self.job.say(progress.begin(name))

        def report(received: int) -> None:
            nonlocal size, told
            size = received
            if size - told > 1 << 20:
                told = size
                self.job.say(progress.moved(name, f"transferring {wish.name}:", size), may_be_lost=True)

        descriptor = await fetch_files(self.session.http2, wish, self.directory, report)
        try:
            self.job.say(progress.moved(name, f"transferring {wish.name}:", size, is_done=True))
            self.job.say(progress.end(name))
            yield f"/proc/{os.getpid()}/fd/{descriptor}"
        finally:
            os.close(descriptor)

    @contextlib.asynccontextmanager
    async def _uploaded(self, id: str) -> AsyncIterator[str]:
        name = "[internal] load remote build context"
        self.job.say(self.job.progress.begin(name))
        descriptor = await fetch_upload(self.session.http2, id, self.directory)
        try:
            self.job.say(self.job.progress.end(name))
            yield f"/proc/{os.getpid()}/fd/{descriptor}"
        finally:
            os.close(descriptor)


def read_files(tar: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The text of those that are there, links followed within it. tar: made by `file_sync`, and small."""
    found: dict[str, str] = {}
    try:
        with tarfile.open(tar, "r:", errorlevel=0) as archive:
            for name in names:
                text = _read(archive, name.removeprefix("./"))
                if text is not None:
                    found[name] = text
    except (tarfile.TarError, RecursionError, OSError):
        raise Invalid("read files", names[0][:80], "links that lead nowhere") from None
    return found


def _read(archive: tarfile.TarFile, name: str) -> str | None:
    try:
        file = archive.extractfile(name)
    except KeyError:
        return None
    return None if file is None else file.read(limits.FILE_BYTES + 1).decode("utf-8", "surrogateescape")


def patterns_of(text: str) -> tuple[str, ...]:
    """The lines of a `.dockerignore`, as the client takes them. The build reads it again, by the rules."""
    lines = [line.strip() for line in text.removeprefix("\ufeff").split("\n")]
    return tuple(map(_pattern, filter(lambda line: line and not line.startswith("#"), lines)))


def _pattern(line: str) -> str:
    sign = "!" if line.startswith("!") else ""
    path = os.path.normpath(line.removeprefix("!").strip() or ".")
    return sign + (path.lstrip("/") or ".")
