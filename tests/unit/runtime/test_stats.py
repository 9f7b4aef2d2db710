"""A container's numbers from either kind of control groups: from files as the kernel writes them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from runtime import stats
from runtime.cgroup_limits import Hierarchies
from runtime.model import InterfaceStats

V2 = {
    "cpu.stat": "usage_usec 2500000\nuser_usec 1500000\nsystem_usec 1000000\nnr_periods 9\nnr_throttled 2\n"
    "throttled_usec 250000\n",
    "memory.current": "1000\n", "memory.max": "max\n", "memory.events": "oom 1\noom_kill 3\n",
    "memory.stat": "anon 10\nfile 20\ninactive_file 5\n", "pids.current": "7\n", "pids.max": "2048\n",
    "io.stat": "8:0 rbytes=11 wbytes=12 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2\n254:0\n",
}  # fmt: skip
V1 = {
    "cpuacct/cpuacct.usage": "2500000000\n", "cpuacct/cpuacct.stat": "user 150\nsystem 100\n",
    "cpuacct/cpuacct.usage_percpu": "1500000000 1000000000 \n",
    "cpu/cpu.stat": "nr_periods 9\nnr_throttled 2\nthrottled_time 250000000\n",
    "memory/memory.usage_in_bytes": "1000\n", "memory/memory.limit_in_bytes": "4096\n",
    "memory/memory.max_usage_in_bytes": "2000\n", "memory/memory.failcnt": "5\n",
    "memory/memory.stat": "cache 20\ntotal_cache 20\ntotal_inactive_file 5\n",
    "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "pids/pids.current": "7\n", "pids/pids.max": "max\n",
}  # fmt: skip
INTERFACES = {"eth0": InterfaceStats(1, 2)}


def laid(folder: Path, files: Mapping[str, str]) -> None:
    """Those of the cgroup /x."""
    for name, text in files.items():
        controller, _, file = name.rpartition("/")
        place = folder / controller / "x" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def test_a_unified_hierarchy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid(tmp_path, V2)
    found = Hierarchies({}, str(tmp_path), frozenset({"cpu", "memory", "pids", "io"}))
    monkeypatch.setattr(stats, "hierarchies", lambda: found)
    seen = stats.read_stats("a", "/x", (1, 2, 3, 4), (5, 20))
    assert (seen.cpu_seconds, seen.cpu_user_seconds, seen.throttled_seconds) == (2.5, 1.5, 0.25)
    assert (seen.memory_bytes, seen.memory_limit_bytes, seen.memory_cache_bytes, seen.oom_kills) == (
        1000, None, 20, 3,
    )  # fmt: skip
    assert (seen.pids, seen.pids_limit) == (7, 2048)
    assert (seen.io_read_bytes, seen.io_write_bytes) == (12, 20)  # a counter never falls
    details = stats.read_details("/x", INTERFACES)
    assert details.memory == {"anon": 10, "file": 20, "inactive_file": 5}
    assert (details.memory_peak_bytes, details.memory_failures, details.cpu_each_ns) == (None, None, ())
    assert (details.cpu_periods, details.cpu_periods_throttled) == (9, 2)
    assert details.devices == ((8, 0, 11, 12), (8, 16, 1, 2), (254, 0, 0, 0))
    assert details.interfaces is INTERFACES


def test_separate_hierarchies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    laid(tmp_path, V1)
    names = ("cpuacct", "cpu", "memory", "pids")
    found = Hierarchies({name: str(tmp_path / name) for name in names}, "", frozenset())
    monkeypatch.setattr(stats, "hierarchies", lambda: found)
    monkeypatch.setattr(stats, "list_pids", lambda path: ())
    seen = stats.read_stats("a", "/x", (1, 2, 3, 4))
    assert (seen.cpu_seconds, seen.cpu_user_seconds, seen.throttled_seconds) == (2.5, 1.5, 0.25)
    assert (seen.memory_limit_bytes, seen.oom_kills, seen.pids_limit) == (4096, 3, None)
    details = stats.read_details("/x", {})
    assert details.memory["total_inactive_file"] == 5
    assert (details.memory_peak_bytes, details.memory_failures) == (2000, 5)
    assert details.cpu_each_ns == (1_500_000_000, 1_000_000_000)
    assert (details.cpu_periods, details.cpu_periods_throttled, details.devices) == (9, 2, ())


def test_what_is_gone_counts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Hierarchies({}, str(tmp_path), frozenset({"cpu", "memory", "pids", "io"}))
    monkeypatch.setattr(stats, "hierarchies", lambda: found)
    assert stats.read_stats("a", "/gone", (0, 0, 0, 0)).memory_bytes == 0
    assert stats.read_details("/gone", {}).memory == {}
