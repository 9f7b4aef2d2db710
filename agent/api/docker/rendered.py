"""Answers that are kept as bytes, as long as all that they are made of is the same: dashboards and compose
ask for the same containers over and over. Bounded. What an answer is made of, its caller says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

MAX_KEPT = 512  # of some 4 KB
MAX_BYTES = 65536  # of one; a larger one is made each time


class Rendered:
    """The last answer for each name."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, tuple[object, bytes]] = OrderedDict()

    def get(self, name: str, parts: object, make: Callable[[], bytes]) -> bytes:
        """make: called unless the parts are equal to those of the last time."""
        return self.kept(name, parts) or self.keep(name, parts, make())

    def kept(self, name: str, parts: object) -> bytes | None:
        """The last answer, where its parts are the same."""
        had = self._kept.get(name)
        if had is None or had[0] != parts:
            return None
        self._kept.move_to_end(name)
        return had[1]

    def keep(self, name: str, parts: object, body: bytes) -> bytes:
        self._kept.pop(name, None)
        if len(body) <= MAX_BYTES:
            self._kept[name] = (parts, body)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return body
