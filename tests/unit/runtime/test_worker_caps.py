"""What workers may cost: as the agent says it, as a worker hears it, and how a layer's clock runs."""

from __future__ import annotations

import pytest

from runtime.cgroup_limits import Hierarchies
from runtime.errors import Invalid
from runtime.side_groups import weight_writes
from runtime.worker_bounds import Clock, unpacking, waiting
from runtime.worker_caps import LEAST_MEMORY_BYTES, Caps, from_environment, ways_in_of


def test_a_worker_hears_what_was_said() -> None:
    caps = Caps(cpu_seconds=1.5, unpack_seconds=2e6)
    said = caps.environment(("/sys/fs/cgroup/memory/a.images/tasks", "/sys/fs/cgroup/a b/cgroup.procs"))
    heard = from_environment(said)
    assert (heard.cpu_seconds, heard.unpack_seconds) == (1.5, 2e6)
    assert ways_in_of(said) == ("/sys/fs/cgroup/memory/a.images/tasks", "/sys/fs/cgroup/a b/cgroup.procs")


def test_who_is_told_nothing_has_the_usual() -> None:
    assert from_environment({}) == Caps()
    assert ways_in_of({}) == ways_in_of(Caps().environment()) == ()


@pytest.mark.parametrize(
    "caps",
    [
        {"memory_bytes": LEAST_MEMORY_BYTES - 1}, {"memory_bytes": 0}, {"cpu_seconds": 0.5},
        {"cpu_seconds": float("nan")}, {"unpack_seconds": -1.0}, {"unpack_seconds": float("inf")},
    ],
)  # fmt: skip
def test_caps_that_cannot_be(caps: dict[str, float]) -> None:
    with pytest.raises(Invalid, match="limit workers"):
        Caps(**caps)  # type: ignore[arg-type]


def test_what_is_waited_for_does_not_count() -> None:
    clock = Clock(ends_at=10.0)
    assert clock.left(4.0) == 6.0
    clock.wait(5.0)
    assert clock.left(500.0) == 5.0
    clock.go_on(505.0)
    clock.go_on(600.0)  # nobody waited
    assert clock.left(506.0) == 4.0
    assert clock.left(511.0) == -1.0


def test_nothing_is_limited_in_a_process_that_is_no_worker() -> None:
    with unpacking("layer"), waiting():
        pass


@pytest.mark.parametrize(
    ("hierarchies", "expected"),
    [
        (Hierarchies({"memory": "/m", "cpu": "/c"}, "", frozenset()), {("cpu", "cpu.shares")}),
        (Hierarchies({}, "/u", frozenset(("memory", "cpu"))), {("", "cpu.weight")}),
        (Hierarchies({"cpu": "/c"}, "/u", frozenset(("memory",))), {("cpu", "cpu.shares")}),
        (Hierarchies({"memory": "/m"}, "", frozenset()), set()),
    ],
)
def test_workers_weigh_less_where_something_weighs(
    hierarchies: Hierarchies, expected: set[tuple[str, str]]
) -> None:
    assert {(write.controller, write.file) for write in weight_writes(hierarchies)} == expected
