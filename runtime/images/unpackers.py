"""Processes that unpack layers side by side, while their packed files are still being fetched.

    worker ─ start(n) ─> fork, fork, …      each: Job ─> "how far the file is", … , END ─> record or error
                                                  <─ progress, dropped when nobody listens

One interpreter unpacks on little more than one core; a layer needs nothing of the layers below it but the
attributes of directories that it only implies, and those are given afterwards (`layers.settle`). Forked
before the first thread, since a fork of a process with threads inherits their locks. The children inherit
the worker's limits, and end with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

from runtime import worker_bounds
from runtime.errors import Invalid, SetpointError, Temporary
from runtime.images.error_view import to_error, to_view
from runtime.images.layers import LayerRecord, parse_record, record_view
from runtime.images.limits import DEFAULT_LIMITS
from runtime.supervisor import interpreter
from runtime.syscalls import PR_SET_PDEATHSIG, prctl

if TYPE_CHECKING:
    from concurrent.futures import Future

_END, _BROKEN = -1, -2
_MOST = 8  # a registry or a disk is the slowest long before
_PROGRESS_BYTES = 8 << 20
Advance = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """directory: new, where the tree goes. has_lowers: there are layers below."""

    blob: Path
    directory: Path
    subject: str
    diff_id: str
    has_lowers: bool


class Growth:
    """How many bytes of a file are there, told by the thread that writes it to the one that waits."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._size = 0
        self._is_whole = self._is_broken = False

    @classmethod
    def of(cls, size: int) -> Growth:
        """Of a file that is there already."""
        growth = cls()
        growth.add(size)
        growth.end(is_whole=True)
        return growth

    @property
    def size(self) -> int:
        return self._size

    def add(self, size: int) -> None:
        with self._condition:
            self._size += size
            self._condition.notify_all()

    def end(self, *, is_whole: bool) -> None:
        """The first word counts."""
        with self._condition:
            if not self._is_whole and not self._is_broken:
                self._is_whole, self._is_broken = is_whole, not is_whole
            self._condition.notify_all()

    def told(self) -> Iterator[int]:
        """Ever larger sizes, then _END or _BROKEN."""
        known = 0
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._size > known or self._is_whole or self._is_broken)  # noqa: B023
                size, is_whole, is_broken = self._size, self._is_whole, self._is_broken
            if is_broken:
                yield _BROKEN
                return
            if size > known:
                known = size
                yield known
            if is_whole:
                yield _END
                return


class Unpackers:
    """`submit` layers in the order of their stack; `kill` when nothing of it is wanted any more."""

    def __init__(self, count: int) -> None:
        self._idle: queue.SimpleQueue[_Child] = queue.SimpleQueue()
        self._children: list[_Child] = []
        for _ in range(count):
            self._children.append(_fork(self._children))
            self._idle.put(self._children[-1])
        from concurrent.futures import ThreadPoolExecutor  # late: a commit imports this module, too

        self._growths: list[Growth] = []
        self._threads = ThreadPoolExecutor(count, "unpack")
        self.is_alive = True

    def submit(self, job: Job, growth: Growth, make_advance: Callable[[], Advance]) -> Future[LayerRecord]:
        """advance is made when the whole file is there, and told how many bytes of it were taken."""
        self._growths.append(growth)
        return self._threads.submit(self._unpack, job, growth, make_advance)

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(child.pid for child in self._children)

    def kill(self) -> None:
        """End all of them, and wait until nothing is written any more."""
        if not self.is_alive:
            return
        self.is_alive = False
        for child in self._children:
            child.kill()
        for growth in self._growths:
            growth.end(is_whole=False)
        self._threads.shutdown(cancel_futures=True)
        for child in self._children:
            child.hang_up()

    def _unpack(self, job: Job, growth: Growth, make_advance: Callable[[], Advance]) -> LayerRecord:
        child = self._idle.get()
        try:
            return child.unpack(job, growth, make_advance)
        finally:
            self._idle.put(child)


class _Child:
    def __init__(self, pid: int, connection: socket.socket) -> None:
        self.pid = pid
        self._connection = connection
        self._answers = connection.makefile("rb")

    def unpack(self, job: Job, growth: Growth, make_advance: Callable[[], Advance]) -> LayerRecord:
        try:
            self._send(_job_view(job))
            for size in growth.told():
                self._send(size)
            advance = make_advance()
            while line := self._answers.readline():
                answer = json.loads(line)
                if "advance" in answer:
                    advance(answer["advance"])
                elif "errno" in answer:
                    raise OSError(*answer["errno"])
                elif "error" in answer:
                    raise to_error(answer["error"])
                else:
                    return parse_record(answer["record"])
        except (BrokenPipeError, ConnectionResetError):
            pass
        raise Temporary(
            "unpack layer", job.subject, "its process ended", "it may have used too much memory"
        )  # fmt: skip

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def hang_up(self) -> None:
        """Also in another child: a copy of ours would keep this one's connection open."""
        self._answers.close()
        self._connection.close()

    def _send(self, value: object) -> None:
        self._connection.sendall(json.dumps(value).encode() + b"\n")


_of_this_process: Unpackers | None = None


def start() -> None:
    """One for each core that this process may use, within bounds. Call it before the first thread."""
    global _of_this_process  # as a process's children are
    _of_this_process = Unpackers(min(max(2, len(os.sched_getaffinity(0))), _MOST))


def current() -> Unpackers | None:
    """Those of this process; None when it has none, or they were killed."""
    found = _of_this_process
    return found if found is not None and found.is_alive else None


# --- the child's side -------------------------------------------------------------------------


def _fork(others: list[_Child]) -> _Child:
    # What a child needs is imported once, here.
    from runtime.images import streams, tarheaders, tree  # noqa: F401

    ours, theirs = socket.socketpair()
    parent = os.getpid()
    pid = os.fork()
    if not pid:
        _live(parent, theirs, (*(other.hang_up for other in others), ours.close))
    theirs.close()
    return _Child(pid, ours)


def _live(parent: int, connection: socket.socket, closes: tuple[Callable[[], None], ...]) -> NoReturn:
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:  # it may have ended before it was asked for
            for close in closes:
                close()
            worker_bounds.become_unpacker()
            _leave_standard_streams()
            if interpreter.FAILPOINTS in os.environ:
                from runtime import failpoints

                failpoints.take_slot()
            _serve(connection)
    finally:
        os._exit(0)


def _leave_standard_streams() -> None:
    """Who reads the worker's answer must see its end."""
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    os.close(null)


def _serve(connection: socket.socket) -> None:
    lines = connection.makefile("rb")
    while line := lines.readline():
        job = json.loads(line)
        with contextlib.closing(_GrowingFile(job["blob"], lines, connection)) as source:
            answer = _answer(source, job)
            source.wait_for_end()
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _answer(source: _GrowingFile, job: dict[str, Any]) -> dict[str, object]:
    from runtime.images.layers import unpack_layer

    try:
        record = unpack_layer(
            source, Path(job["directory"]), job["subject"], expected_diff_id=job["diff_id"],
            keeps_implied=job["has_lowers"], limits=DEFAULT_LIMITS,
        )  # fmt: skip
    except SetpointError as error:
        return {"error": to_view(error)}
    except OSError as error:
        return {"errno": [error.errno, error.strerror]}
    except MemoryError:
        reason, hint = "it takes too much memory", "the archive looks like a bomb"
        return {"error": to_view(Invalid("unpack layer", job["subject"], reason, hint))}
    return {"record": record_view(record)}


class _GrowingFile:
    """A reader of what is there of a file; waits for more until it is told the end. Opens it when it is told
    of the first bytes: before, there may be no file."""

    def __init__(self, path: str, lines: IO[bytes], connection: socket.socket) -> None:
        self._path = path
        self._lines = lines
        self._connection = connection
        self._descriptor = -1
        self._there = self._taken = self._told = 0
        self._ended_by = 0

    def read(self, n: int = -1, /) -> bytes:
        while self._taken >= self._there and not self._ended_by:
            self._wait()
        if self._ended_by == _BROKEN:
            raise Temporary("unpack layer", self._path, "its packed file did not come whole")
        left = self._there - self._taken
        if not left:
            return b""
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        data = os.read(self._descriptor, left if n < 0 else min(n, left))
        self._taken += len(data)
        if self._taken - self._told >= _PROGRESS_BYTES:
            self._tell_progress()
        return data

    def wait_for_end(self) -> None:
        while not self._ended_by:
            self._wait()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def _wait(self) -> None:
        with worker_bounds.waiting():
            line = self._lines.readline()
        said = int(line) if line else _BROKEN
        if said < 0:
            self._ended_by = said
        else:
            self._there = said

    def _tell_progress(self) -> None:
        """Not waiting: nobody reads it while the file still comes."""
        line = json.dumps({"advance": self._taken - self._told}).encode() + b"\n"
        with contextlib.suppress(BlockingIOError):
            if self._connection.send(line, socket.MSG_DONTWAIT) == len(line):
                self._told = self._taken


def _job_view(job: Job) -> dict[str, object]:
    return {
        "blob": os.fspath(job.blob), "directory": os.fspath(job.directory), "subject": job.subject,
        "diff_id": job.diff_id, "has_lowers": job.has_lowers,
    }  # fmt: skip
