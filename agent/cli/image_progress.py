"""How far a pull or a load is, on one line of a terminal: how much of what, how fast, how long yet."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any

from agent.cli import output
from runtime.images.progress import EXISTS, LAYER, MOUNTED, NAMED

SHOWN_SECONDS = 0.1
SPEED_SECONDS = 5.0  # of the last so many
_WORDS = {
    "send": "sending", "fetch": "fetching", "copy": "copying", "unpack": "unpacking",
    "write": "reading its files",
    "sync": "writing to the disk",
}  # fmt: skip


class Progress:
    """Takes one report after the other. A step's subjects (layers) are added up."""

    def __init__(self) -> None:
        self._step = ""
        self._subjects: dict[str, tuple[int, int]] = {}
        self._seen: list[tuple[float, int]] = []
        self._shown_at = 0.0

    def show(self, line: Mapping[str, Any]) -> None:
        now = time.monotonic()
        self._take(line, now)
        if now - self._shown_at >= SHOWN_SECONDS:
            self._shown_at = now
            sys.stderr.write(f"\r\x1b[K{output.clean(self.text())}")
            sys.stderr.flush()

    def clear(self, watched: bool) -> None:
        if watched and self._shown_at:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
            self._shown_at = 0.0

    def text(self) -> str:
        """`fetching 3 layers: 12.0 MB of 190 MB, 40 MB/s, 5 s left`."""
        done = sum(each for each, _ in self._subjects.values())
        total = sum(each for _, each in self._subjects.values())
        words = _WORDS.get(self._step, self._step)
        if not total:
            return words
        layers = f" {len(self._subjects)} layers" if len(self._subjects) > 1 else " a layer"
        text = f"{words}{layers}: {output.size(done)} of {output.size(total)}"
        speed = self._speed()
        if speed <= 0:
            return text
        return f"{text}, {output.size(int(speed))}/s, {(total - done) / speed:.0f} s left"

    def _take(self, line: Mapping[str, Any], now: float) -> None:
        step = str(line.get("step", ""))
        if step in (LAYER, EXISTS, MOUNTED, NAMED):
            return  # their bytes are told by the steps that take time
        if step == "unpack" and self._step == "fetch" and self._is_fetching():
            return  # side by side: what is fetched is what one waits for
        if step != self._step:
            self._step, self._subjects, self._seen = step, {}, []
        done, total = int(line.get("done_bytes") or 0), int(line.get("total_bytes") or 0)
        if total:
            self._subjects[str(line.get("subject", ""))] = (done, total)
        self._seen.append((now, sum(each for each, _ in self._subjects.values())))
        while now - self._seen[0][0] > SPEED_SECONDS and len(self._seen) > 2:
            self._seen.pop(0)

    def _is_fetching(self) -> bool:
        return any(done < total for done, total in self._subjects.values())

    def _speed(self) -> float:
        """Bytes a second; 0 when it is not known yet."""
        (began_at, before), (now, done) = self._seen[0], self._seen[-1]
        return (done - before) / (now - began_at) if now - began_at > 0.5 else 0.0
