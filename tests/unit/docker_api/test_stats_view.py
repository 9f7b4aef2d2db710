"""What containers use, in the Docker Engine API's words."""

from __future__ import annotations

from dataclasses import replace

from agent.api.docker.stats_view import Sample, stats_view
from runtime.model import InterfaceStats, Stats, StatsDetails

STATS = Stats(
    "a" * 64, 1700000000.5, 2.5, 1.5, 1.0, 1000, 4000, 100, 3, 7, 2048, 11, 12, 13, 14, 15, 16, 0.25,
    StatsDetails(
        {"cache": 100, "total_inactive_file": 40}, 2000, 5, 9, 2, (1, 2), (),
        {"eth0": InterfaceStats(1, 2, 3, 4, 5, 6, 7, 8)},
    ),
)  # fmt: skip
NOW = Sample(STATS, 900, 2, 1_000_000)
BEFORE = Sample(replace(STATS, at=1699999999.5, cpu_seconds=2.0), 800, 2, 1_000_000)


def test_a_container_that_runs() -> None:
    view = stats_view("a" * 64, "web", NOW, BEFORE)
    assert (view["id"], view["name"]) == ("a" * 64, "/web")
    assert (view["read"], view["preread"]) == ("2023-11-14T22:13:20.5Z", "2023-11-14T22:13:19.5Z")
    assert view["cpu_stats"] == {
        "cpu_usage": {
            "total_usage": 2_500_000_000, "usage_in_usermode": 1_500_000_000,
            "usage_in_kernelmode": 1_000_000_000, "percpu_usage": [1, 2],
        },
        "system_cpu_usage": 900, "online_cpus": 2,
        "throttling_data": {"periods": 9, "throttled_periods": 2, "throttled_time": 250_000_000},
    }  # fmt: skip
    assert view["precpu_stats"]["cpu_usage"]["total_usage"] == 2_000_000_000
    assert view["memory_stats"] == {
        "usage": 1000, "stats": {"cache": 100, "total_inactive_file": 40}, "limit": 4000, "max_usage": 2000,
        "failcnt": 5,
    }  # fmt: skip
    assert view["pids_stats"] == {"current": 7, "limit": 2048}
    assert view["networks"] == {
        "eth0": {
            "rx_bytes": 1, "rx_packets": 2, "rx_errors": 3, "rx_dropped": 4, "tx_bytes": 5, "tx_packets": 6,
            "tx_errors": 7, "tx_dropped": 8,
        }
    }  # fmt: skip
    assert view["blkio_stats"]["io_service_bytes_recursive"] == [
        {"major": 0, "minor": 0, "op": "read", "value": 11},
        {"major": 0, "minor": 0, "op": "write", "value": 12},
    ]


def test_what_a_unified_hierarchy_counts() -> None:
    details = StatsDetails({"file": 1, "inactive_file": 2}, devices=((8, 0, 1, 2), (8, 16, 3, 4)))
    stats = replace(STATS, memory_limit_bytes=None, pids_limit=None, details=details)
    view = stats_view("a", "web", Sample(stats, 900, 2, 1_000_000))
    assert view["memory_stats"] == {
        "usage": 1000, "stats": {"file": 1, "inactive_file": 2}, "limit": 1_000_000,
    }  # fmt: skip
    assert "percpu_usage" not in view["cpu_stats"]["cpu_usage"]
    assert view["pids_stats"] == {"current": 7}
    devices = view["blkio_stats"]["io_service_bytes_recursive"]
    assert [(each["minor"], each["value"]) for each in devices] == [(0, 1), (0, 2), (16, 3), (16, 4)]
    assert "networks" not in view
    assert view["preread"] == "0001-01-01T00:00:00Z"
    assert "system_cpu_usage" not in view["precpu_stats"]


def test_a_container_that_does_not_run() -> None:
    view = stats_view("a", "web", None, BEFORE)
    assert view["read"] == view["preread"] == "0001-01-01T00:00:00Z"
    assert view["cpu_stats"] == view["precpu_stats"]
    assert view["cpu_stats"]["cpu_usage"]["total_usage"] == 0
    assert (view["memory_stats"], view["pids_stats"]) == ({}, {})
    assert not any(view["blkio_stats"].values())
