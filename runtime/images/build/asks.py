"""What a build's process cannot do by itself, asked over its pipes: base images, and RUN steps.

    worker                          the engine's process
      {"ask": 1, "kind": "run", …} ─>
                                   <─ {"answer": 1, "value": {…}}  or  {"answer": 1, "error": {…}}
      {"event": {…}} ─>                       progress, for people and for the log
      {"found": "sha256:…"} or {"error": …}   the end

One line of JSON each. Any thread asks, and waits for its own answer.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import IO, Any

from runtime import errors
from runtime.errors import SetpointError, Temporary

MAX_LINE_BYTES = 64 << 20  # a step's environment and script, and an order's secrets


class Asks:
    """send: writes one line, with its end."""

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Mapping[str, Any] | None]] = {}
        self._is_ended = False

    def say(self, **line: Any) -> None:
        data = json.dumps(line).encode() + b"\n"
        with self._lock:
            self._send(data)

    def tell(self, **event: Any) -> None:
        self.say(event=event)

    def ask(self, kind: str, **fields: Any) -> Any:
        """The answer's value. Raises what was raised there; `Temporary` when nobody is there any more."""
        number = next(self._numbers)
        answers: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._waiting[number] = answers
        if self._is_ended:
            answers.put(None)
        self.say(ask=number, kind=kind, **fields)
        answer = answers.get()
        del self._waiting[number]
        if answer is None:
            raise Temporary("build image", "", "given up: nobody waits for it", "build again")
        if "error" in answer:
            raise error_from(answer["error"])
        return answer.get("value")

    def listen(self, lines: Iterable[bytes]) -> None:
        """Hand out answers until there are no more."""
        try:
            for line in lines:
                answer = json.loads(line)
                waiting = self._waiting.get(answer.get("answer"))
                if waiting is not None:
                    waiting.put(answer)
        finally:
            self._is_ended = True
            for waiting in list(self._waiting.values()):
                waiting.put(None)


def start_listening(asks: Asks, stream: IO[bytes]) -> None:
    threading.Thread(target=asks.listen, args=(stream,), name="answers", daemon=True).start()


def error_to(error: SetpointError) -> dict[str, Any]:
    fields: list[object] = [error.op, error.subject, error.reason, error.hint]
    if isinstance(error, Temporary):
        fields.append(error.retry_after_seconds)
    kind = type(error).__name__
    while not hasattr(errors, kind):  # a kind of a package of its own: as what it is caught
        kind = next(base.__name__ for base in type(error).__mro__ if hasattr(errors, base.__name__))
    return {"kind": kind, "fields": fields}


def error_from(value: Mapping[str, Any]) -> SetpointError:
    kind = getattr(errors, str(value["kind"]), SetpointError)
    error = kind(*value["fields"])
    assert isinstance(error, SetpointError)
    return error
