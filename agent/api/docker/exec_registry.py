"""The execs that clients of the Docker API made: waiting to be started, running, and ended ones for a while.
Bounded in number. Called by `execs` and by whoever shows a container; starts no process.

    made ──begin──> running ──exit──> ended ──KEPT_SECONDS, or room is needed──> (forgotten)
      └──────────────── WAITING_SECONDS, or room is needed ───────────────────────────^
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from agent.api.docker.exec_turns import ExecTurns
from agent.api.docker.pumps import Drain
from runtime.errors import Conflict, NotFound

MAX_EXECS = 4096  # with those that run, which may be more
MAX_ENDED = 1024  # of them: who asks for an exit code does so at once
MAX_WAITING = 1024  # of them: who makes one starts it at once
MAX_BYTES = 64 * 1024 * 1024  # of commands and environments
KEPT_SECONDS = 600.0  # of an ended one at most; 5 to 10 minutes, as with Docker's daemon
REMOVABLE_SECONDS = 300.0
WAITING_SECONDS = 3600.0  # of one that nobody has started
SWEEP_SECONDS = 300.0  # between two looks for what is to be forgotten, while there is any
UNKNOWN_EXIT = 255  # the supervisor went away meanwhile: 0 would be a lie


@dataclass(frozen=True, slots=True)
class ExecWish:
    """What was asked for. detach_keys: as given, None for the default; size: rows and columns."""

    argv: tuple[str, ...]
    environment: tuple[str, ...] = ()
    user: str = ""
    working_dir: str = ""
    is_terminal: bool = False
    has_stdin: bool = False
    has_stdout: bool = False
    has_stderr: bool = False
    is_privileged: bool = False
    detach_keys: bytes | None = None
    size: tuple[int, int] = (0, 0)

    @property
    def size_bytes(self) -> int:
        return sum(map(len, (*self.argv, *self.environment, self.user, self.working_dir)))


class Process(Protocol):
    """What the engine starts: see `runtime.processes`."""

    pid: int
    stdin: int
    stdout: int
    stderr: int

    def when_ended(self, tell: Callable[[int | None], None]) -> None: ...
    async def resize(self, rows: int, columns: int) -> None: ...
    def close_stdin(self) -> None: ...
    def release(self) -> None: ...


def _nobody(_ended: Exec) -> None: ...


class Exec:
    """One of them. made_at: a scoped socket, or "". exit_code: None until its process has ended or could not
    be started. Thousands are known for a while, of which nobody asks: there is a future of each only while
    somebody waits for it."""

    __slots__ = (
        "_drain", "_exit", "_has_client", "_on_end", "_waiters", "container", "exit_code", "has_begun",
        "has_detached", "id", "made_at", "pid", "process", "wish",
    )  # fmt: skip

    def __init__(
        self, container: str, wish: ExecWish, made_at: str = "", on_end: Callable[[Exec], None] = _nobody
    ) -> None:
        self.id = secrets.token_hex(32)
        self.container = container
        self.made_at = made_at
        self.wish = wish
        self.has_begun = False
        self.pid = 0
        self.process: Process | None = None
        self.exit_code: int | None = None
        self._on_end = on_end
        self._waiters: set[asyncio.Future[None]] | None = None  # for its start, or its end
        self._exit: asyncio.Future[int] | None = None
        self._drain: Drain | None = None
        self._has_client = False
        self.has_detached = False  # its client typed the keys

    @property
    def is_running(self) -> bool:
        return self.has_begun and self.exit_code is None

    @property
    def exit(self) -> asyncio.Future[int]:
        """Its end, for who waits for something else, too."""
        if self._exit is not None:
            return self._exit
        made: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if self.exit_code is None:
            self._exit = made
        else:
            made.set_result(self.exit_code)
        return made

    async def wait_started(self, seconds: float) -> None:
        """Until its process is there, or cannot be; for so long at most."""
        if self.process is not None or self.exit_code is not None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wait()

    async def wait_ended(self) -> None:
        """In the turn in which its end is told: that is what the clients of most execs wait for."""
        while self.exit_code is None:
            await self._wait()

    async def _wait(self) -> None:
        """Until it has begun, or has ended."""
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiters = self._waiters or set()
        waiters.add(mine)
        try:
            await mine
        finally:
            waiters.discard(mine)
            self._waiters = self._waiters or None

    def begin(self) -> None:
        """Claim it: an exec is started once. Conflict, in the daemon's words."""
        if self.exit_code is not None:
            raise Conflict("", "", f"Error: Exec command {self.id} has already run")
        if self.has_begun:
            raise Conflict("", "", f"Error: Exec command {self.id} is already running")
        self.has_begun = True

    def follow(self, process: Process) -> None:
        """It runs. Its descriptors are freed when it has ended, and nobody reads them any more."""
        self.process, self.pid = process, process.pid
        self._has_client = True
        self._wake()
        process.when_ended(self._on_exit)

    def fail(self, code: int) -> None:
        """Its program could not be started."""
        self._finish(code)

    def _wake(self) -> None:
        for each in self._waiters or ():
            if not each.done():
                each.set_result(None)

    def _on_exit(self, code: int | None) -> None:
        if self.process is None:  # the agent ends
            return
        self._finish(UNKNOWN_EXIT if code is None else code)
        self._free()

    def _finish(self, code: int) -> None:
        if self.exit_code is not None:
            return
        self.exit_code = code
        self._wake()
        exit, self._exit = self._exit, None
        if exit is not None and not exit.done():
            exit.set_result(code)
        self._on_end(self)

    def leave(self) -> None:
        """Its client is gone, or has detached, or it never had one. The process runs on, as with Docker's
        daemon: its input has ended, and its output goes nowhere. A terminal stays open."""
        process = self.process
        if process is None or not self._has_client:
            return
        self._has_client = False
        process.close_stdin()
        drain = Drain({process.stdout, process.stderr} - {-1}, self._on_drained)
        self._drain = None if drain.is_over else drain
        self._free()

    def _on_drained(self) -> None:
        self._drain = None
        self._free()

    def _free(self) -> None:
        """Once it has ended and its pipes too, which its children may hold for longer."""
        is_needed = self.exit_code is None or self._has_client or self._drain is not None
        if self.process is not None and not is_needed:
            self.process.release()
            self.process = None

    def close(self) -> None:
        """The agent ends: let go of everything."""
        if self._drain is not None:
            self._drain.stop()
            self._drain = None
        if self.process is not None:
            self.process.release()
            self.process = None


class ExecRegistry:
    """All of them. Nothing is open but what runs."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._all: dict[str, Exec] = {}  # the oldest first
        self._ended: dict[str, float] = {}  # when; the first first
        self._waiting: dict[str, float] = {}  # to be started; when they were made, the first first
        self._live: dict[str, dict[str, Exec]] = {}  # container -> those that have not ended
        self._sweeping: asyncio.TimerHandle | None = None
        self.turns = ExecTurns()
        self._bytes = 0
        self._now = now
        self._told_of_end = self._on_end  # one for all

    def __len__(self) -> int:
        return len(self._all)

    def add(self, container: str, wish: ExecWish, made_at: str = "") -> Exec:
        self._forget_old()
        self._make_room(wish.size_bytes)
        made = Exec(container, wish, made_at, self._told_of_end)
        self._all[made.id] = made
        self._bytes += wish.size_bytes
        self._waiting[made.id] = self._now()
        self._live.setdefault(container, {})[made.id] = made
        if len(self._waiting) > MAX_WAITING:
            self.forget(self._all[next(iter(self._waiting))])
        self._sweep_later()
        return made

    def begin(self, each: Exec) -> None:
        """Claim it: see `Exec.begin`."""
        each.begin()
        self._waiting.pop(each.id, None)

    def get(self, id: str) -> Exec:
        """NotFound, in the daemon's words."""
        self._forget_old()
        found = self._all.get(id)
        if found is None:
            raise NotFound("", "", f"No such exec instance: {id[:128]}")
        return found

    def ids_of(self, container: str) -> list[str]:
        """Those of a container that have not ended."""
        return list(self._live.get(container, ()))

    def count_of(self, made_at: str) -> int:
        """Those of a scoped socket that have not ended."""
        return sum(each.made_at == made_at for live in self._live.values() for each in live.values())

    def can_remove(self, each: Exec) -> bool:
        ended_at = self._ended.get(each.id)
        return ended_at is not None and self._now() - ended_at > REMOVABLE_SECONDS

    def _on_end(self, each: Exec) -> None:
        self._leave_container(each)
        self._waiting.pop(each.id, None)
        if each.id not in self._all:
            return
        self._ended[each.id] = self._now()
        if len(self._ended) > MAX_ENDED:
            self.forget(self._all[next(iter(self._ended))])

    def _leave_container(self, each: Exec) -> None:
        live = self._live.get(each.container, {})
        live.pop(each.id, None)
        if not live:
            self._live.pop(each.container, None)

    def forget(self, each: Exec) -> None:
        """What runs is not forgotten."""
        self._waiting.pop(each.id, None)
        if each.is_running or self._all.pop(each.id, None) is None:
            return
        self._ended.pop(each.id, None)
        self._bytes -= each.wish.size_bytes
        self._leave_container(each)

    def _forget_old(self) -> None:
        for each_at, seconds in ((self._ended, KEPT_SECONDS), (self._waiting, WAITING_SECONDS)):
            before = self._now() - seconds
            while each_at:
                first, at = next(iter(each_at.items()))
                if at > before:
                    break
                self.forget(self._all[first])

    def _sweep_later(self) -> None:
        if self._sweeping is None and self._all:
            self._sweeping = asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        """Nobody may come any more by whose call they would be forgotten."""
        self._sweeping = None
        self._forget_old()
        self._sweep_later()

    def _make_room(self, size_bytes: int) -> None:
        """What ended first goes, then what nobody has started."""
        while len(self._all) >= MAX_EXECS or self._bytes + size_bytes > MAX_BYTES:
            first = next(iter(self._ended), None)
            if first is None:
                first = next(iter(self._waiting), None)
            if first is None:
                return
            self.forget(self._all[first])

    def close(self) -> None:
        """The agent ends."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for each in self._all.values():
            each.close()


def view(each: Exec, *, can_remove: bool) -> dict[str, Any]:
    """As GET /exec/{id}/json shows it."""
    wish = each.wish
    process: dict[str, Any] = {
        "tty": wish.is_terminal, "entrypoint": wish.argv[0], "arguments": list(wish.argv[1:]),
        "privileged": wish.is_privileged,
    }  # fmt: skip
    if wish.user:
        process["user"] = wish.user
    return {
        "ID": each.id,
        "Running": each.is_running,
        "ExitCode": each.exit_code,
        "ProcessConfig": process,
        "OpenStdin": wish.has_stdin,
        "OpenStderr": wish.has_stderr,
        "OpenStdout": wish.has_stdout,
        "CanRemove": can_remove,
        "ContainerID": each.container,
        "DetachKeys": base64.b64encode(wish.detach_keys or b"").decode(),
        "Pid": each.pid,
    }
