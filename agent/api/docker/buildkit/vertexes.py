"""What a build says, as BuildKit's progress: vertexes with a beginning and an end, what each prints, how far
it is. Pure but for the clock that it is given. Each function gives bytes of StatusResponse messages.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from agent.api.docker.buildkit import wire

_STREAMS = {"stdout": 1, "stderr": 2}


class Progress:
    """One build's. clock: Unix time."""

    def __init__(self, ref: str, clock: Callable[[], float]) -> None:
        self._ref = ref
        self._clock = clock
        self._started: dict[str, float] = {}  # vertexes that have not ended
        self._steps: dict[int, str] = {}
        self._stages: dict[str, dict[str, Any]] = {}
        self._is_alone = True
        self._main = ""  # the vertex that remarks belong to

    # --- vertexes

    def begin(self, name: str) -> bytes:
        self._started[name] = self._clock()
        self._main = self._main or name
        return wire.inner(1, self._vertex(name) + wire.moment(5, self._started[name]))

    def end(self, name: str, error: str = "", *, is_cached: bool = False) -> bytes:
        now = self._clock()
        started = self._started.pop(name, now)
        body = wire.number(4, is_cached) + wire.moment(5, started) + wire.moment(6, now) + wire.text(7, error)
        return wire.inner(1, self._vertex(name) + body)

    def fail(self, error: str) -> bytes:
        """What had begun has failed with it."""
        return b"".join(self.end(name, error) for name in list(self._started))

    def moved(self, name: str, what: str, size: int, *, is_done: bool = False) -> bytes:
        """How much of something was transferred."""
        now = self._clock()
        body = (
            wire.text(1, what) + wire.text(2, self._digest(name)) + wire.text(3, what) + wire.number(4, size)
            + wire.moment(6, now) + wire.moment(7, self._started.get(name, now))
            + (wire.moment(8, now) if is_done else b"")
        )  # fmt: skip
        return wire.inner(2, body)

    def _vertex(self, name: str) -> bytes:
        return wire.text(1, self._digest(name)) + wire.text(3, name)

    def _digest(self, name: str) -> str:
        text = f"{self._ref}\0{name}"
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    # --- the builder's events

    def of(self, event: Mapping[str, Any]) -> bytes:
        match event.get("kind"):
            case "plan":
                return self._plan(event)
            case "remark":
                return self._remark(event)
            case "step":
                return self._step(event)
            case "log":
                return self._log(event)
            case "end":
                return self._end(event)
            case _:
                return b""

    def _plan(self, event: Mapping[str, Any]) -> bytes:
        stages = event["stages"]
        self._is_alone = len(stages) == 1
        found = b""
        for stage in stages:
            self._stages[str(stage["stage"])] = stage
            if not str(stage["base"]).startswith("stage ") and stage["base"] != "scratch":
                name = f"{self._place(stage, 1)} FROM {stage['base']}"
                found += self.begin(name) + self.end(name)
        return found

    def _place(self, stage: Mapping[str, Any], number: int) -> str:
        """`[2/5]`, or `[test 2/5]` where there are several stages."""
        name = "" if self._is_alone else f"{self._shown(str(stage['stage']))} "
        return f"[{name}{number}/{len(stage['acts']) + 1}]"

    @staticmethod
    def _shown(stage: str) -> str:
        return f"stage-{stage}" if stage.isdecimal() else stage

    def _step(self, event: Mapping[str, Any]) -> bytes:
        stage = self._stages.get(str(event["stage"]), {"acts": []})
        if event["position"] not in stage["acts"]:  # ENV and such change no file: nobody waits for them
            return b""
        number = stage["acts"].index(event["position"]) + 2
        name = f"{self._place(stage, number)} {event['text']}"
        self._steps[int(event["step"])] = name
        return self.begin(name)

    def _end(self, event: Mapping[str, Any]) -> bytes:
        name = self._steps.pop(int(event["step"]), "")
        if not name or event.get("how") == "failed":  # its error comes with the build's
            return b""
        return self.end(name, is_cached=event.get("how") == "cached")

    def _log(self, event: Mapping[str, Any]) -> bytes:
        name = self._steps.get(int(event["step"]), self._main)
        body = (
            wire.text(1, self._digest(name)) + wire.moment(2, self._clock())
            + wire.number(3, _STREAMS.get(str(event.get("stream")), 1))
            + wire.text(4, f"{event.get('text', '')}\n")
        )  # fmt: skip
        return wire.inner(3, body)

    def _remark(self, event: Mapping[str, Any]) -> bytes:
        place = f" (line {event['line']})" if event.get("line") else ""
        text = f"{event.get('text', '')}{place}"
        return wire.inner(4, wire.text(1, self._digest(self._main)) + wire.number(2, 1) + wire.text(3, text))
