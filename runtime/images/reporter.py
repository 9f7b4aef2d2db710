"""A worker's progress, as lines of what it says. Called in its process alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict

from runtime.images.progress import EXISTS, LAYER, MOUNTED, NAMED, WRITTEN, Progress

_REPORT_SECONDS = 0.1
# A frozen container waits for "written"; the others come once for each layer or name.
_NEVER_LEFT_OUT = (WRITTEN, LAYER, EXISTS, MOUNTED, NAMED)


class Reporter:
    """Says progress, ten times a second at most."""

    def __init__(self, say: Callable[[Mapping[str, object]], None]) -> None:
        self._say = say
        self._next_at = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        may_be_left_out = progress.step not in _NEVER_LEFT_OUT
        if may_be_left_out and now < self._next_at:
            return
        if may_be_left_out:
            self._next_at = now + _REPORT_SECONDS
        self._say({"progress": asdict(progress)})
