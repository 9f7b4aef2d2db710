"""The supervisor's one epoll loop: descriptors, timers and SIGCHLD, each with a plain callback.

Single-threaded. A callback must not block. It knows nothing of containers.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
HANGUP = select.EPOLLHUP | select.EPOLLERR
MAX_FAILURES = 5  # of one callback in a row
MAX_EVENTS = 64  # a round: a flood on one descriptor does not starve the others


class Timer:
    """A callback that is due. cancel() makes it do nothing."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Loop:
    """epoll and a heap of timers (CLOCK_MONOTONIC seconds)."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._numbers = itertools.count()
        self._failures: dict[int, int] = {}
        self.is_running = True

    def watch(self, fd: int, events: int, callback: Callable[[int], None]) -> None:
        """Call callback(events) whenever fd is ready. An fd that is watched already gets the new ones."""
        if fd in self._callbacks:
            self._epoll.modify(fd, events)
        else:
            self._epoll.register(fd, events)
        self._callbacks[fd] = callback

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Watch fd no longer. To be called before it is closed: a dup of it would keep it in epoll."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        timer = Timer(callback)
        heapq.heappush(self._timers, (time.monotonic() + seconds, next(self._numbers), timer))
        return timer

    def watch_children(self, callback: Callable[[], None]) -> None:
        """Call callback after SIGCHLD. The handler itself does nothing: a pipe wakes the loop."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(writer, warn_on_full_buffer=False)

        def on_signal(_events: int) -> None:
            os.read(reader, 4096)
            callback()

        self.watch(reader, READ, on_signal)

    def run(self) -> None:
        while self.is_running:
            self.run_once()

    def run_once(self) -> None:
        for fd, events in self._epoll.poll(self._timeout(), MAX_EVENTS):
            callback = self._callbacks.get(fd)
            if callback is not None:  # an earlier callback of this round may have forgotten it
                self._guarded(fd, callback, events)
        self._run_timers()

    def _guarded(self, fd: int, callback: Callable[[int], None], events: int) -> None:
        """A bug in the care of one container must not end that of all others. What fails again and
        again is watched no longer, or it would fail for ever."""
        try:
            callback(events)
            self._failures.pop(fd, None)
        except Exception:
            sys.excepthook(*sys.exc_info())
            self._failures[fd] = self._failures.get(fd, 0) + 1
            if self._failures[fd] >= MAX_FAILURES and self._callbacks.get(fd) is callback:
                self.forget(fd)

    def _timeout(self) -> float:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else -1

    def _run_timers(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            callback = heapq.heappop(self._timers)[2].callback
            if callback is not None:
                try:
                    callback()
                except Exception:
                    sys.excepthook(*sys.exc_info())
