"""/metrics: what Prometheus' own linter says of it, what it shows, and that it stays small."""

from __future__ import annotations

import shutil
import subprocess
import time
import urllib.request
from dataclasses import replace

import pytest

from agent.metrics import MAX_CONTAINERS, Metrics, Seen, Words, look_at_containers
from agent.reconcile.convert import LABEL_INDEX, LABEL_KEY
from runtime.errors import NotFound
from runtime.model import ContainerState, Stats
from store.records import Key, StatusRecord
from tests.bounds import BROKEN_SECONDS

from .agents import Agent

WEB = Key("shop", "container", "web")


def a_state(id: str = "a", index: int = 1, **changes: object) -> ContainerState:
    labels = {LABEL_KEY: str(WEB), LABEL_INDEX: str(index)}
    return replace(
        ContainerState(id=id, name=f"shop-web-{index}", labels=labels, phase="running", started_at=5.0),
        **changes,  # type: ignore[arg-type]
    )


def some_stats(id: str = "a", **changes: object) -> Stats:
    numbers = Stats(id, 1.0, 2.5, 1.5, 1.0, 1000, 4000, 100, 3, 7, 2048, 11, 12, 13, 14, 15, 16, 0.5)
    return replace(numbers, **changes)  # type: ignore[arg-type]


def a_status(**changes: object) -> StatusRecord:
    container = {"id": "a", "health": "healthy"}
    status = StatusRecord(WEB, "Running", True, 1.0, 4, "", containers=(container,))
    return replace(status, **changes)  # type: ignore[arg-type]


def everything_told() -> Metrics:
    metrics = Metrics("1.2.3")
    metrics.on_action("CreateContainer", WEB, "ok", 0.01)
    metrics.on_pass("full", 3, 1, 0.002)
    metrics.on_converged("abc", 0.4)
    metrics.on_drift_repair("bridge", WEB, "ok")
    metrics.on_restart(WEB, "it exited with 3")
    metrics.on_bug(WEB, RuntimeError())
    metrics.on_source_failure()
    metrics.on_request(200)
    return metrics


def lines_of(page: bytes) -> dict[str, float]:
    found: dict[str, float] = {}
    for line in page.decode().splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            assert name not in found, f"{name} is there twice"
            found[name] = float(value)
    return found


SEEN = Seen(
    statuses={WEB: a_status(), Key("shop", "network", "default"): a_status(phase="Ready", containers=())},
    containers=((a_state(), some_stats()), (a_state("b", 2, phase="stopped"), None)),
    source={"kind": "git", "revision": "c0ffee", "errors": [{}], "looked_at": 9.0},
    is_supervisor_up=True,
    queue_depth=2,
)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool (Debian package prometheus)")
def test_promtool_has_nothing_to_say() -> None:
    page = everything_told().page(SEEN)
    check = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True)
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")


def test_the_page_shows_what_was_seen_and_told() -> None:
    lines = lines_of(everything_told().page(SEEN))
    replica = '{name="web",project="shop",replica="1"}'
    assert {
        'setpoint_actions_total{kind="CreateContainer",outcome="ok"}': 1.0,
        'setpoint_drift_repairs_total{cause="bridge",kind="container",outcome="ok"}': 1.0,
        "setpoint_convergence_seconds_count": 1.0,
        'setpoint_convergence_seconds_bucket{le="0.5"}': 1.0,
        'setpoint_reconcile_duration_seconds_count{kind="full"}': 1.0,
        'setpoint_objects{kind="container",phase="Running"}': 1.0,
        'setpoint_objects{kind="network",phase="Ready"}': 1.0,
        'setpoint_source_revision_info{revision="c0ffee",source="git"}': 1.0,
        "setpoint_source_errors": 1.0,
        "setpoint_source_up": 1.0,
        "setpoint_supervisor_up": 1.0,
        "setpoint_queue_depth": 2.0,
        'setpoint_build_info{version="1.2.3"}': 1.0,
        'setpoint_container_restarts_total{name="web",project="shop"}': 4.0,
        f"setpoint_container_cpu_seconds_total{replica}": 2.5,
        f"setpoint_container_memory_bytes{replica}": 1000.0,
        f"setpoint_container_memory_limit_bytes{replica}": 4000.0,
        f"setpoint_container_oom_kills_total{replica}": 3.0,
        f"setpoint_container_pids{replica}": 7.0,
        f"setpoint_container_io_read_bytes_total{replica}": 11.0,
        f"setpoint_container_network_sent_bytes_total{replica}": 14.0,
        f"setpoint_container_health{replica}": 1.0,
        f"setpoint_container_running{replica}": 1.0,
        'setpoint_container_running{name="web",project="shop",replica="2"}': 0.0,
    }.items() <= lines.items()
    assert "process_resident_memory_bytes" in lines
    assert not any("_created" in name for name in lines)


def test_a_limit_that_is_not_there_is_no_series() -> None:
    seen = replace(SEEN, containers=((a_state(), some_stats(memory_limit_bytes=None)),))
    assert not any("memory_limit" in name for name in lines_of(Metrics("1").page(seen)))


def test_while_one_replaces_another_each_series_is_there_once() -> None:
    old = a_state("old", phase="stopped", created_at=1.0)
    new = a_state("new", created_at=2.0)
    seen = replace(SEEN, containers=((new, some_stats("new", pids=9)), (old, some_stats("old", pids=1))))
    lines = lines_of(Metrics("1").page(seen))
    assert lines['setpoint_container_pids{name="web",project="shop",replica="1"}'] == 9.0


def test_hostile_labels_cannot_break_the_page() -> None:
    state = a_state(labels={LABEL_KEY: 'a"\n/container/b\\', LABEL_INDEX: "1"})
    lines_of(Metrics("1").page(replace(SEEN, containers=((state, some_stats()),))))


def test_what_is_not_ours_is_not_shown() -> None:
    seen = replace(SEEN, containers=((a_state(labels={"x": "y"}), some_stats()),))
    assert not any(name.startswith("setpoint_container_pids") for name in lines_of(Metrics("1").page(seen)))


def test_free_words_are_bounded() -> None:
    words = Words(limit=3)
    assert [words.bounded(word) for word in ("a", "b", "a", "c", "d", "a", "x" * 99)] == [
        "a", "b", "a", "c", "other", "a", "other",
    ]  # fmt: skip
    metrics = Metrics("1")
    for number in range(500):
        metrics.on_action(f"Kind{number}", WEB, "ok", 0.1)
    page = metrics.page(Seen())
    assert page.count(b"setpoint_actions_total{") <= 41


class ManyContainers:
    """As many as nobody has, of which every third ended just now."""

    def list(self) -> tuple[ContainerState, ...]:
        return tuple(a_state(str(n), n) for n in range(MAX_CONTAINERS + 500))

    def stats(self, id: str) -> Stats:
        if int(id) % 3 == 0:
            raise NotFound("stats", id, "it has ended")
        return some_stats(id)


async def test_containers_are_bounded_and_one_that_ended_is_no_error() -> None:
    seen, unlisted = await look_at_containers(ManyContainers())  # type: ignore[arg-type]
    assert (len(seen), unlisted) == (MAX_CONTAINERS, 500)
    assert sum(stats is None for _, stats in seen) == len(range(0, MAX_CONTAINERS, 3))


def test_the_agent_serves_it(agent: Agent) -> None:
    address = agent.metrics_address
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = lines_of(answer.read())
    assert lines['setpoint_objects{kind="container",phase="Running"}'] == 2.0
    assert lines['setpoint_container_running{name="web",project="shop",replica="2"}'] == 1.0
    assert lines["setpoint_convergence_seconds_count"] == 1.0
    assert lines["setpoint_supervisor_up"] == 1.0
    with pytest.raises(urllib.error.HTTPError, match="404"):
        urllib.request.urlopen(f"http://{address}/setpoint/v1/status", timeout=10)


def test_a_page_of_a_hundred_containers_costs_little() -> None:
    metrics = everything_told()
    containers = tuple((a_state(str(n), n), some_stats(str(n))) for n in range(100))
    seen = replace(SEEN, containers=containers)
    metrics.page(seen)
    started = time.process_time()
    metrics.page(seen)
    assert time.process_time() - started < BROKEN_SECONDS
