"""The walk's end of the fail points' control file: note all points down, or have a process wait at one.

    record() … points()          arm(name, nth) … is_parked … release()

See `runtime.failpoints` for the other end, which is in the agent, the supervisor and their children.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import NamedTuple

from runtime import failpoints as points_of

_WORD = struct.Struct("=I")


class Seen(NamedTuple):
    """One point that a process reached. slot: which process; at: monotonic nanoseconds."""

    slot: int
    at: int
    name: str


class Control:
    def __init__(self, path: Path) -> None:
        path.write_bytes(b"")
        with path.open("r+b") as file:
            file.truncate(points_of.SIZE)
            self._memory = mmap.mmap(file.fileno(), points_of.SIZE)

    def _set(self, at: int, value: int) -> None:
        _WORD.pack_into(self._memory, at, value)

    def _get(self, at: int) -> int:
        return int(_WORD.unpack_from(self._memory, at)[0])

    def record(self) -> None:
        """Forget what was noted, and note from here on."""
        for slot in range(points_of.SLOTS):
            self._set(points_of.SLOTS_AT + slot * points_of.SLOT_BYTES, 0)
        self._set(points_of.MODE_AT, points_of.RECORD)

    def seen(self) -> list[Seen]:
        """What was noted, in the order of time; nothing is noted from here on."""
        self._set(points_of.MODE_AT, points_of.OFF)
        found = []
        for slot in range(points_of.SLOTS):
            start = points_of.SLOTS_AT + slot * points_of.SLOT_BYTES
            used = self._get(start)
            for line in self._memory[start + 4 : start + 4 + used].decode().splitlines():
                at, _, name = line.partition(" ")
                found.append(Seen(slot, int(at), name))
        return sorted(found, key=lambda each: each.at)

    def arm(self, name: str, nth: int) -> None:
        """Have the process that reaches `name` the nth time from now on wait there."""
        encoded = name.encode()
        assert len(encoded) <= points_of.MAX_NAME_BYTES, name
        self.disarm()
        self._memory[points_of.NAME_AT : points_of.NAME_AT + len(encoded)] = encoded
        self._set(points_of.LENGTH_AT, len(encoded))
        self._set(points_of.NTH_AT, nth)
        self._set(points_of.PASSED_AT, 0)
        self._set(points_of.STATE_AT, points_of.NOTHING)
        self._set(points_of.MODE_AT, points_of.ARMED)

    def disarm(self) -> None:
        self._set(points_of.MODE_AT, points_of.OFF)

    @property
    def is_parked(self) -> bool:
        return self._get(points_of.STATE_AT) == points_of.PARKED

    @property
    def parked_pid(self) -> int:
        """Who waits, by its number in its own pid namespace."""
        return self._get(points_of.PID_AT)

    def release(self) -> None:
        """Whoever waits goes on."""
        self.disarm()
        self._set(points_of.STATE_AT, points_of.RELEASED)
