"""What a build says, in the lines of the Docker Engine API's stream. Pure.

    {"stream": "Step 2/4 : RUN make\\n"}   {"aux": {"ID": "sha256:…"}}   {"errorDetail": {…}, "error": "…"}

Stages run side by side here: their steps are numbered as they stand in the plan, not as they come.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from agent.api.docker.answers import message_of
from runtime.errors import SetpointError
from runtime.model import ImageInfo

Line = dict[str, Any]
_EXIT_CODE = re.compile(r"ended with exit code (\d+)$")
_RED, _PLAIN = "\x1b[91m", "\x1b[0m"  # as the daemon marks what goes to stderr


class DockerLines:
    """One build's events, one after the other."""

    def __init__(self) -> None:
        self.is_begun = False  # the Dockerfile was read, and nothing is wrong with it
        self._total = 0
        self._first: dict[str, int] = {}  # stage -> the number of its FROM
        self._from: dict[str, str] = {}  # those that were not told yet
        self._texts: dict[int, str] = {}
        self._failed = ""

    def of(self, event: Mapping[str, Any]) -> Iterator[Line]:
        match event.get("kind"):
            case "plan":
                self._plan(event)
            case "remark":
                yield _said(f" ---> [Warning] {event.get('text')}\n")
            case "step":
                yield from self._step(event)
            case "log":
                yield _logged(event)
            case "end":
                yield from self._end(event)

    def _plan(self, event: Mapping[str, Any]) -> None:
        self.is_begun = True
        for stage in event["stages"]:
            name = str(stage["stage"])
            self._first[name] = self._total + 1
            self._from[name] = str(stage["base"])
            self._total += 1 + int(stage["count"])

    def _step(self, event: Mapping[str, Any]) -> Iterator[Line]:
        stage = str(event["stage"])
        yield from self._begin(stage)
        text = str(event["text"])
        self._texts[int(event["step"])] = text
        number = self._first.get(stage, 0) + int(event["position"])
        yield _said(f"Step {number}/{self._total} : {text}\n")

    def _begin(self, stage: str) -> Iterator[Line]:
        base = self._from.pop(stage, None)
        if base is not None:
            yield _said(f"Step {self._first[stage]}/{self._total} : FROM {base}\n")

    def _end(self, event: Mapping[str, Any]) -> Iterator[Line]:
        text = self._texts.pop(int(event["step"]), "")
        if event.get("how") == "cached":
            yield _said(" ---> Using cache\n")
        if event.get("how") == "failed":
            self._failed = text

    def done(self, image: ImageInfo, *, with_aux: bool) -> Iterator[Line]:
        for stage in list(self._from):
            yield from self._begin(stage)
        if with_aux:
            yield {"aux": {"ID": image.id}}
        yield _said(f"Successfully built {image.id.removeprefix('sha256:')[:12]}\n")

    def failed(self, error: BaseException) -> Line:
        """With the command's exit code where one ended with it, and the line of the Dockerfile."""
        message, code = message_of(error), 0
        if isinstance(error, SetpointError) and (match := _EXIT_CODE.search(error.reason)):
            code = int(match[1])
            command = self._failed.partition(" ")[2]
            place = error.subject.rpartition(":")[0]
            message = f"{place}: The command '{command}' returned a non-zero code: {code}"
        detail: Line = {"code": code, "message": message} if code else {"message": message}
        return {"errorDetail": detail, "error": message}


def tagged(names: tuple[str, ...]) -> Iterator[Line]:
    for name in names:
        yield _said(f"Successfully tagged {name}\n")


def quiet_done(image: ImageInfo) -> Line:
    return _said(f"{image.id}\n")


def _said(text: str) -> Line:
    return {"stream": text}


def _logged(event: Mapping[str, Any]) -> Line:
    text = f"{event.get('text', '')}\n"
    return _said(f"{_RED}{text}{_PLAIN}" if event.get("stream") == "stderr" else text)
