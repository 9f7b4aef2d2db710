"""A whole agent over the fake engine, in a thread of the test: real loop, store, source, API and socket;
no root, no kernel object.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from agent import daemon
from agent.api.context import Context
from agent.client import Client
from agent.settings import Settings
from runtime.errors import Invalid, NotFound
from runtime.layout import Layout
from runtime.model import ImageInfo
from tests.sim.fake_engine import BUSYBOX, FakeEngine


class LocalProcess:
    """What `start_exec` gives: here a process of the test itself."""

    def __init__(self, argv: Sequence[str], *, terminal: bool, stdin: bool) -> None:
        self.sizes: list[tuple[int, int]] = []
        if terminal:
            master, slave = os.openpty()
            self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, close_fds=True)
            os.close(slave)
            self.stdin = self.stdout = master
            self.stderr = -1
            return
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            argv, stdin=pipe if stdin else subprocess.DEVNULL, stdout=pipe, stderr=pipe
        )
        self.stdin = _take(self.process.stdin) if stdin else -1
        self.stdout, self.stderr = _take(self.process.stdout), _take(self.process.stderr)

    async def wait(self) -> int:
        code = await asyncio.to_thread(self.process.wait)
        return 128 - code if code < 0 else code

    async def signal(self, name: str) -> None:
        import signal

        try:
            self.process.send_signal(signal.Signals[name])
        except KeyError:
            raise Invalid("signal", name, "no such signal") from None

    async def resize(self, rows: int, columns: int) -> None:
        self.sizes.append((rows, columns))

    def close_stdin(self) -> None:
        if self.stdin >= 0 and self.stdin != self.stdout:
            os.close(self.stdin)
            self.stdin = -1

    def close(self) -> None:
        self.close_stdin()
        for descriptor in {self.stdout, self.stderr} - {-1}:
            os.close(descriptor)
        self.process.kill()
        self.process.wait()


def _take(pipe: Any) -> int:
    descriptor = os.dup(pipe.fileno())
    pipe.close()
    return descriptor


class FakeImages(dict[str, ImageInfo]):
    """The face of `runtime.images.images.Images`, for one kind of archive: a name in a file."""

    def __init__(self, known: dict[str, ImageInfo]) -> None:
        super().__init__(known)
        self.loaded: list[bytes] = []

    def load(
        self, path: Path, progress: Callable[[Any], None], *, moves_names: bool = False
    ) -> tuple[ImageInfo, ...]:
        from runtime.images.stage import Progress

        content = path.read_bytes()
        self.loaded.append(content)
        if not content.startswith(b"image "):
            raise Invalid("load image", str(path), "not an archive")
        name = content.split()[1].decode()
        progress(Progress("copy", name, 1, 2))
        self[name] = replace(BUSYBOX, id="sha256:" + "c" * 64, names=(name,))
        return (self[name],)

    def import_rootfs(
        self, path: Path, reference: str, config: Any, progress: Any, *, moves_names: bool = False
    ) -> ImageInfo:
        self[reference] = replace(BUSYBOX, id="sha256:" + "d" * 64, names=(reference,))
        return self[reference]


class FakeBuilds:
    """Of no context."""

    async def run(self, *_asked: Any) -> ImageInfo:
        raise Invalid("build image", "", "its context holds no Dockerfile")


class ApiEngine(FakeEngine):
    """The fake engine, with what the API asks beyond `runtime.face`."""

    def __init__(self, logs: Path = Path("/nonexistent")) -> None:
        super().__init__(now=time.time)
        self.logs = logs
        self.images: FakeImages = FakeImages(self.images)
        self.builds = FakeBuilds()
        self.execs: list[tuple[Any, ...]] = []
        self.processes: list[LocalProcess] = []
        self.is_closed = False

    async def start_exec(self, id: str, argv: Sequence[str], **options: Any) -> LocalProcess:
        self.execs.append((id, tuple(argv), options))
        if argv[0] == "not-there":
            raise NotFound("exec", id, "not-there: no such file")
        process = LocalProcess(argv, terminal=options["terminal"], stdin=options["stdin"])
        self.processes.append(process)
        return process

    @property
    def names(self) -> dict[str, str]:
        return {state.name: state.id for state in self.list()}

    def ids_with(self, prefix: str) -> list[str]:
        return [state.id for state in self.list() if state.id.startswith(prefix)]

    def list_images(self) -> tuple[ImageInfo, ...]:
        return tuple(self.images.values())

    async def remove_image(self, reference: str, *, force: bool = False) -> tuple[str, ...]:
        if reference not in self.images:
            raise NotFound("remove image", reference, "no such image")
        del self.images[reference]
        return (reference,)

    def log_directory(self, id: str) -> Path:
        return self.logs / id

    def top(self, id: str) -> tuple[int, ...]:
        return (os.getpid(),)

    def profiles(self) -> set[str]:
        return set()

    async def close(self) -> None:
        self.is_closed = True


class Agent:
    """A running agent. `on_loop` runs a function in its event loop; `stop` ends it in good order."""

    def __init__(self, settings: Settings, engine: ApiEngine) -> None:
        self.settings, self.engine = settings, engine
        self.context: Context
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Agent:
        self._thread.start()
        assert self._started.wait(20)
        if self._error is not None:
            raise self._error
        return self

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._main())
        except BaseException as error:
            self._error = error
        finally:
            self._started.set()
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()

    async def _main(self) -> None:
        async def engine(_layout: Layout) -> ApiEngine:
            return self.engine

        async with contextlib.AsyncExitStack() as stack:
            daemon.prepare(self.settings.layout)
            stack.enter_context(daemon.instance_lock(self.settings.layout))
            context, follower = await daemon._assemble(self.settings, engine, self._stop.set, stack)
            self.context = context
            tasks = daemon._start_tasks(context, follower, stack)
            self._started.set()
            await daemon._until_stopped(self._stop, tasks)

    def on_loop(self, work: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return work()

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(10)

    def stop(self) -> None:
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(20)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error

    def wait_stopped(self) -> None:
        self._thread.join(20)
        assert not self._thread.is_alive()

    @property
    def metrics_address(self) -> str:
        return self.context.metrics_address

    @property
    def client(self) -> Client:
        return Client(self.settings.layout.agent_socket, timeout_seconds=20)


class Place:
    """Directories and manifests of one agent, short enough for a socket's path (108 bytes, unix(7))."""

    def __init__(self) -> None:
        self.top = Path(tempfile.mkdtemp(prefix="spt", dir="/tmp"))
        self.manifests = self.top / "m"
        self.manifests.mkdir()
        self.layout = Layout("t", self.top / "lib", self.top / "run")
        self.settings = Settings(
            layout=self.layout, watch=self.manifests, metrics_address="127.0.0.1:0", full_pass_seconds=5.0
        )

    def write(self, path: str, text: str) -> None:
        file = self.manifests / path
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name("." + file.name)
        part.write_text(text)
        part.rename(file)

    def remove(self) -> None:
        shutil.rmtree(self.top)
