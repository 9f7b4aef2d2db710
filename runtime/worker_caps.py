"""What the processes may cost that read what strangers made: images, archives, builds, copies. Pure numbers.

The agent's settings become one. `fence` puts it in force around the workers, `worker_bounds` inside each. How
much a layer may hold is said in `images.limits`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from runtime.errors import Invalid

_CPU, _UNPACK = "SETPOINT_WORKER_CPU_SECONDS", "SETPOINT_WORKER_UNPACK_SECONDS"
_GROUPS = "SETPOINT_WORKER_GROUPS"
LEAST_MEMORY_BYTES = 128 << 20  # an interpreter for each core, and a decoder's window


@dataclass(frozen=True, slots=True)
class Caps:
    """memory_bytes, processes: of all workers of one kind together, files in the page cache and threads
    counted in. cpu_seconds: of processor time, for one worker or one layer. unpack_seconds: for one layer,
    without the time that its bytes are waited for.

    The times are far above what an image of 50 GB takes: on a small board with an SD card (10 MB/s written,
    60 MB/s inflated) that is 1.5 hours, half of it processor time. Raises Invalid.
    """

    memory_bytes: int = 2 << 30
    processes: int = 1024
    cpu_seconds: float = 2 * 3600.0
    unpack_seconds: float = 6 * 3600.0

    def __post_init__(self) -> None:
        if self.memory_bytes < LEAST_MEMORY_BYTES:
            least = f"{LEAST_MEMORY_BYTES >> 20}m"
            raise Invalid("limit workers", f"{self.memory_bytes} bytes", "no pull can live in that", least)
        if not (1 <= self.cpu_seconds < 1e9 and 1 <= self.unpack_seconds < 1e9):
            raise Invalid("limit workers", "", "a time is below a second, or no time", "write 2h")

    def environment(self, ways_in: Sequence[str] = ()) -> dict[str, str]:
        """What a worker is told. ways_in: the files by which it enters its control groups."""
        return {
            _CPU: repr(self.cpu_seconds), _UNPACK: repr(self.unpack_seconds), _GROUPS: "\n".join(ways_in)
        }  # fmt: skip


def ways_in_of(environment: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(filter(None, environment.get(_GROUPS, "").split("\n")))


def from_environment(environment: Mapping[str, str]) -> Caps:
    """The times that a worker was told, and the usual ones where it was told none."""
    usual = Caps()
    return Caps(
        cpu_seconds=float(environment.get(_CPU, usual.cpu_seconds)),
        unpack_seconds=float(environment.get(_UNPACK, usual.unpack_seconds)),
    )
