"""A build on a terminal or in a log: one line a step, its output behind its number, and how it ended."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Any

from agent.cli import output

_HOW = {"cached": "CACHED", "done": "DONE", "failed": "FAILED"}


class BuildOutput:
    """plain: every line stays. Else a step that went well is one line, its output shown while it runs."""

    def __init__(self, *, plain: bool, quiet: bool = False) -> None:
        self._plain = plain
        self._quiet = quiet
        self._steps: dict[int, str] = {}
        self._lines: dict[int, list[str]] = {}
        self._is_shown = False

    def show(self, event: Mapping[str, Any]) -> None:
        if self._quiet and event.get("kind") != "end":
            return
        number = int(event.get("step") or 0)
        match event.get("kind"):
            case "base":
                self._print(f"from {event.get('reference')}")
            case "remark":
                place = f"line {event['line']}: " if event.get("line") else ""
                self._print(f"note: {place}{event.get('text')}")
            case "step":
                self._begin(number, event)
            case "log":
                self._log(number, str(event.get("text", "")))
            case "end":
                self._end(number, event)

    def _begin(self, number: int, event: Mapping[str, Any]) -> None:
        first = str(event.get("text", "")).split("\n", 1)[0]
        stage = f"{event.get('stage')} {event.get('position')}/{event.get('count')}"
        self._steps[number] = f"#{number} [{stage}] {first}"
        if self._plain:
            self._print(self._steps[number])
        else:
            self._passing(self._steps[number])

    def _log(self, number: int, text: str) -> None:
        if self._plain:
            self._print(f"#{number} {text}")
            return
        self._lines.setdefault(number, []).append(text)
        self._passing(f"#{number} {text}")

    def _end(self, number: int, event: Mapping[str, Any]) -> None:
        how = str(event.get("how"))
        lines = self._lines.pop(number, [])
        head = self._steps.pop(number, f"#{number}")
        if self._quiet or how == "config":
            return
        took = f" {float(event.get('seconds') or 0):.1f}s" if how != "cached" else ""
        if self._plain:
            self._print(f"#{number} {_HOW.get(how, how)}{took}")
            return
        self._print(f"{head} {_HOW.get(how, how)}{took}")
        if how == "failed":
            for line in lines:
                self._print(f"#{number} {line}")

    def close(self) -> None:
        if self._is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._is_shown = False

    def _print(self, text: str) -> None:
        self.close()
        print(output.clean(text), file=sys.stderr)

    def _passing(self, text: str) -> None:
        """One line that the next one takes the place of."""
        width = 100
        sys.stderr.write(f"\r\x1b[K{output.clean(text)[:width]}")
        sys.stderr.flush()
        self._is_shown = True


def show_log(lines: Iterable[Mapping[str, Any]]) -> None:
    """The log of a build that was, on stdout."""
    for line in lines:
        match line.get("kind"):
            case "step":
                first = str(line.get("text", "")).split("\n", 1)[0]
                stage = f"{line.get('stage')} {line.get('position')}/{line.get('count')}"
                print(output.clean(f"#{line.get('step')} [{stage}] {first}"))
            case "log":
                print(output.clean(f"#{line.get('step')} {line.get('text')}"))
            case "end" if line.get("how") != "config":
                print(output.clean(f"#{line.get('step')} {_HOW.get(str(line.get('how')), '')}"))
