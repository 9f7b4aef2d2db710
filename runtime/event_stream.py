"""Events to any number of listeners, each with a bounded queue. Used by the engine.

A listener that does not keep up loses what does not fit and gets one event "overflow" instead: a full
look is due. Nothing waits for a listener.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator

from runtime.model import EngineEvent

MAX_QUEUED = 4096


class EventStream:
    """publish() from the event loop's thread; listen() by whoever wants them."""

    def __init__(self) -> None:
        self._listeners: set[_Listener] = set()

    def publish(self, kind: str, id: str, detail: str = "") -> None:
        if not self._listeners:
            return
        event = EngineEvent(kind, id, time.time(), detail)
        for listener in self._listeners:
            listener.put(event)

    def listen(self) -> AsyncIterator[EngineEvent]:
        """From this call on, not only from the first `anext`."""
        listener = _Listener()
        self._listeners.add(listener)
        return self._iterate(listener)

    async def _iterate(self, listener: _Listener) -> AsyncIterator[EngineEvent]:
        try:
            while True:
                yield await listener.get()
        finally:
            self._listeners.discard(listener)


class _Listener:
    def __init__(self) -> None:
        self._events: deque[EngineEvent] = deque()
        self._has_overflowed = False
        self._wake = asyncio.Event()

    def put(self, event: EngineEvent) -> None:
        if len(self._events) >= MAX_QUEUED:
            if not self._has_overflowed:
                self._has_overflowed = True
                self._events.append(EngineEvent("overflow", "", event.at))
            return
        self._events.append(event)
        self._wake.set()

    async def get(self) -> EngineEvent:
        while not self._events:
            self._wake.clear()
            await self._wake.wait()
        event = self._events.popleft()
        if event.kind == "overflow":
            self._has_overflowed = False
        return event
