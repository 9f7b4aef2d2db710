"""A few threads for jobs that wait for a disk and that nobody waits for in the event loop's thread.

Daemons: a disk that stands still must not keep the agent from its end. Used by `roots` and `rubbish`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue

log = logging.getLogger(__name__)


class Threads:
    """At most `most`, made as they are needed. do() and close() for one thread, or from a job."""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._queue: SimpleQueue[tuple[Callable[[], None], Future[None]] | None] = SimpleQueue()
        self._count = 0

    def do(self, job: Callable[[], None], under_way: int) -> Future[None]:
        """under_way: how many jobs there are that have not ended, this one among them."""
        if self._count < min(self._most, under_way):
            self._count += 1
            threading.Thread(target=self._do_each, name=self._name, daemon=True).start()
        done: Future[None] = Future()
        self._queue.put((job, done))
        return done

    def _do_each(self) -> None:
        while each := self._queue.get():
            job, done = each
            try:
                job()
            except Exception:
                log.exception("a job of the threads called %s failed", self._name)
            done.set_result(None)

    def close(self) -> None:
        """What was asked for is done, and they end; nobody waits for it."""
        for _ in range(self._count):
            self._queue.put(None)
        self._count = 0
