"""What a worker lays upon itself, before it reads anything: memory, processor time, a layer's time.

    enter(…)                 the control groups of `fence`, RLIMIT_AS; what the agent said of times
    limit_cpu(…)             RLIMIT_CPU: at its signal the error is told, and the end; later the kernel kills
    with unpacking(name):    one layer: a timer on the clock, stopped while its bytes are waited for

Called by the workers of images, builds and copies, in their own processes. In any other process `unpacking`
does nothing: a limit there would be the agent's.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from runtime.errors import Invalid, SetpointError
from runtime.worker_caps import Caps, from_environment, ways_in_of

ENDED_BY_LIMIT = 3  # exit code: nothing was taken away
_GRACE_SECONDS = 30  # of processor time, between the error and the kill
_AGAIN_SECONDS = 1.0  # an error may get lost in another that is raised at the same moment


@dataclass(slots=True)
class Clock:
    """How long a layer may still be unpacked. Another thread may be the one that waits. Times in seconds."""

    ends_at: float
    waits_since: float | None = None

    def wait(self, now: float) -> None:
        self.waits_since = now

    def go_on(self, now: float) -> None:
        if self.waits_since is not None:
            self.ends_at += now - self.waits_since
            self.waits_since = None

    def left(self, now: float) -> float:
        since = self.waits_since
        return self.ends_at - (now if since is None else since)


_caps: Caps | None = None
_is_unpacker = False
_clock: Clock | None = None


def enter(memory_bytes: int = 0) -> None:
    """This process and what it forks, for good; before it has a second thread, and still sees the host's
    files. memory_bytes: as for `limit_memory`; 0 when that comes later."""
    global _caps  # as limits are a process's
    _caps = from_environment(os.environ)
    for file in ways_in_of(os.environ):
        with contextlib.suppress(OSError):  # an agent that ends takes them away, and us with them
            Path(file).write_text("0")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory_bytes:
        limit_memory(memory_bytes)


def limit_memory(memory_bytes: int) -> None:
    """Of address space, for each process from here on."""
    _lower(resource.RLIMIT_AS, memory_bytes, memory_bytes)


def limit_cpu(op: str, subject: str, tell: Callable[[SetpointError], object]) -> None:
    """This process's processor time, for good; before it has a second thread. op, subject: of the error that
    is told, in a thread of its own, before the process ends: no other may be ready to hear. Not for what
    takes as long as the store is large."""
    assert _caps is not None
    seconds, signals = _caps.cpu_seconds, {signal.SIGXCPU}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # later threads, too

    def wait() -> None:
        signal.sigwait(signals)
        tell(_too_much_work(op, subject, seconds))
        os._exit(ENDED_BY_LIMIT)

    threading.Thread(target=wait, name="processor time", daemon=True).start()
    end = math.ceil(time.process_time() + seconds)
    _lower(resource.RLIMIT_CPU, end, end + _GRACE_SECONDS)


def _too_much_work(op: str, subject: str, seconds: float) -> Invalid:
    reason = f"it took more than {seconds:g} s of processor time"
    return Invalid(op, subject, reason, "is it a bomb? `setpoint agent --worker-time` allows more")


def leave_signals_to_main() -> None:
    """For a thread of `unpacking`: the kernel gives SIGXCPU to whichever thread works just then, and an error
    is raised in the main one, which may be waiting for this one."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGXCPU})


def become_unpacker() -> None:
    """A child that only unpacks, one layer after the other: each has its processor time."""
    global _is_unpacker
    _is_unpacker = True


def _lower(what: int, soft: int, hard: int) -> None:
    most = resource.getrlimit(what)[1]
    if most != resource.RLIM_INFINITY:
        soft, hard = min(soft, most), min(hard, most)
    resource.setrlimit(what, (soft, hard))


@contextlib.contextmanager
def unpacking(subject: str) -> Iterator[None]:
    """A layer, in a worker's main thread; in others the process's own limits have to do. Invalid is raised
    from within when it takes too long."""
    if _caps is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _within_time(subject, _caps.unpack_seconds):
        if not _is_unpacker:
            yield
            return
        with _within_cpu_time(subject, _caps.cpu_seconds):
            yield


@contextlib.contextmanager
def _within_cpu_time(subject: str, seconds: float) -> Iterator[None]:
    """The hard limit stays: lowered, it could not be raised for the next layer."""
    before, most = resource.getrlimit(resource.RLIMIT_CPU)

    def on_signal(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _too_much_work("unpack layer", subject, seconds)  # and again each second

    signal.signal(signal.SIGXCPU, on_signal)
    end = math.ceil(time.process_time() + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (end if most == resource.RLIM_INFINITY else min(end, most), most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CPU, (before, most))


@contextlib.contextmanager
def _within_time(subject: str, seconds: float) -> Iterator[None]:
    global _clock
    clock = _clock = Clock(time.monotonic() + seconds)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        left = clock.left(time.monotonic())
        signal.setitimer(signal.ITIMER_REAL, max(left, _AGAIN_SECONDS))
        if left <= 0:
            raise Invalid(
                "unpack layer", subject, f"it took longer than {seconds:g} s to unpack",
                "is it a bomb, or the disk slow? `setpoint agent --unpack-time` allows more",
            )  # fmt: skip

    signal.signal(signal.SIGALRM, on_signal)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        _clock = None


@contextlib.contextmanager
def waiting() -> Iterator[None]:
    """For a layer's bytes, which does not count. Any thread."""
    clock = _clock
    if clock is not None:
        clock.wait(time.monotonic())
    try:
        yield
    finally:
        if clock is not None:
            clock.go_on(time.monotonic())
