"""Every Prometheus metric, declared in one place. The loop tells counters what happens (`Metrics` is
its Observer); what is a state is looked at when somebody scrapes, never by a timer.

Labels stay few: an object has its project and name and a replica its number, so that a replaced
container goes on in the same series; free words are bounded by `Words`, containers by MAX_CONTAINERS.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.process_collector import ProcessCollector

from agent.reconcile.convert import LABEL_INDEX, LABEL_KEY
from runtime.disk import Room
from runtime.errors import SetpointError
from runtime.face import Engine
from runtime.model import ContainerState, Stats
from store.records import Key, StatusRecord

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
MAX_CONTAINERS = 2000
STATS_AT_ONCE = 10  # read between two turns of the event loop
CONVERGENCE_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800)
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
CONTAINER_LABELS = ("project", "name", "replica")


class Words:
    """At most `limit` different values of a label; the rest is "other"."""

    def __init__(self, limit: int = 40) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def bounded(self, word: str) -> str:
        if word not in self._known:
            if len(self._known) >= self._limit or len(word) > 60:
                return "other"
            self._known.add(word)
        return word


@dataclass(frozen=True, slots=True)
class DiskSeen:
    """The disk of the instance's data. room None: it cannot even be asked. unstored: records that are in
    memory alone; lost_events: those for which there was no room even there."""

    room: Room | None = None
    ballast_bytes: int = 0
    alarm: str = ""
    unstored: int = 0
    lost_events: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """What a scrape looked at. source: the source's state as `/status` shows it."""

    statuses: Mapping[Key, StatusRecord] = field(default_factory=dict)
    containers: tuple[tuple[ContainerState, Stats | None], ...] = ()
    unlisted_containers: int = 0
    source: Mapping[str, Any] = field(default_factory=dict)
    is_supervisor_up: bool = False
    queue_depth: int = 0
    last_event_id: int = 0
    disk: DiskSeen = DiskSeen()
    tasks: int = 0


class Metrics:
    """The counters, and the page. All methods are for the event loop's thread."""

    def __init__(self, version: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._kinds = Words()
        self._outcomes = Words()
        self._seen = Seen()
        self._version = version
        self._declare()
        self.registry.register(_States(lambda: self._seen, version))
        ProcessCollector(registry=self.registry)

    def _declare(self) -> None:
        registry = self.registry
        self._convergence = Histogram(
            "setpoint_convergence_seconds",
            "From a revision being seen to everything it wants being Ready.",
            buckets=CONVERGENCE_BUCKETS,
            registry=registry,
        )
        self._passes = Histogram(
            "setpoint_reconcile_duration_seconds",
            "How long a pass of the reconcile loop took; its count is the number of passes.",
            ("kind",),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._keys = Counter(
            "setpoint_reconcile_keys_total", "Objects looked at by passes.", ("kind",), registry=registry
        )
        self._actions = Counter(
            "setpoint_actions_total", "Actions carried out.", ("kind", "outcome"), registry=registry
        )
        self._action_seconds = Histogram(
            "setpoint_action_duration_seconds",
            "How long actions took.",
            ("kind",),
            buckets=DURATION_BUCKETS,
            registry=registry,
        )
        self._repairs = Counter(
            "setpoint_drift_repairs_total",
            "Things in the kernel that were not as made, by kind of object and by what had drifted.",
            ("kind", "cause", "outcome"),
            registry=registry,
        )
        self._restarts = Counter("setpoint_restarts_total", "Containers started again.", registry=registry)
        self._bugs = Counter("setpoint_bugs_total", "Errors nobody foresaw; see the log.", registry=registry)
        self._source_failures = Counter(
            "setpoint_source_failures_total", "Looks at the source that failed.", registry=registry
        )
        self._store_failures = Counter(
            "setpoint_store_failures_total", "Writes of the store that failed and wait.", registry=registry
        )
        self._requests = Counter(
            "setpoint_api_requests_total", "Requests answered by the API.", ("code",), registry=registry
        )
        # By their labels, which cost more to look up.
        self._answered: dict[int, Counter] = {}
        self._acted: dict[tuple[str, str], tuple[Counter, Histogram]] = {}
        self._passed: dict[str, tuple[Histogram, Counter]] = {}

    # --- what the loop, the source and the API tell --------------------------------------------

    def on_action(self, kind: str, key: Key, outcome: str, seconds: float) -> None:
        kind, outcome = self._kinds.bounded(kind), self._outcomes.bounded(outcome)
        if (kind, outcome) not in self._acted:
            self._acted[kind, outcome] = (
                self._actions.labels(kind, outcome),
                self._action_seconds.labels(kind),
            )
        count, times = self._acted[kind, outcome]
        count.inc()
        times.observe(seconds)

    def on_pass(self, kind: str, keys: int, actions: int, seconds: float) -> None:
        kind = self._kinds.bounded(kind)
        if kind not in self._passed:
            self._passed[kind] = self._passes.labels(kind), self._keys.labels(kind)
        times, count = self._passed[kind]
        times.observe(seconds)
        count.inc(keys)

    def on_converged(self, revision: str, seconds: float) -> None:
        self._convergence.observe(seconds)

    def on_drift_repair(self, kind: str, key: Key, outcome: str) -> None:
        cause = self._kinds.bounded(kind)
        self._repairs.labels(self._kinds.bounded(key.kind), cause, self._outcomes.bounded(outcome)).inc()

    def on_restart(self, key: Key, reason: str) -> None:
        self._restarts.inc()  # the reason is a sentence: it is in the events

    def on_bug(self, key: Key | None, error: BaseException) -> None:
        self._bugs.inc()

    def on_store_failure(self) -> None:
        self._store_failures.inc()

    def on_source_failure(self) -> None:
        self._source_failures.inc()

    def on_request(self, code: int) -> None:
        if code not in self._answered:
            self._answered[code] = self._requests.labels(str(code))
        self._answered[code].inc()

    # --- the page -----------------------------------------------------------------------------

    def page(self, seen: Seen) -> bytes:
        """The text that Prometheus reads (exposition format 0.0.4)."""
        self._seen = seen
        return generate_latest(self.registry)


async def look_at_containers(engine: Engine) -> tuple[tuple[tuple[ContainerState, Stats | None], ...], int]:
    """Every container with its counters (None when it does not run), and how many are left out. Gives
    the event loop its turn in between."""
    states = engine.list()
    seen: list[tuple[ContainerState, Stats | None]] = []
    for number, state in enumerate(states[:MAX_CONTAINERS]):
        if number % STATS_AT_ONCE == STATS_AT_ONCE - 1:
            await asyncio.sleep(0)
        seen.append((state, _stats_of(engine, state)))
    return tuple(seen), len(states) - len(seen)


def _stats_of(engine: Engine, state: ContainerState) -> Stats | None:
    if state.phase not in ("running", "paused"):
        return None
    try:
        return engine.stats(state.id)
    except SetpointError:  # it ended since it was listed
        return None


class _States:
    """The collector of what is looked at per scrape."""

    def __init__(self, seen: Callable[[], Seen], version: str) -> None:
        self._seen = seen
        self._version = version

    def collect(self) -> Iterator[Metric]:
        seen = self._seen()
        yield _gauge("setpoint_build_info", "The running version.", ("version",), [((self._version,), 1)])
        yield from _objects(seen.statuses)
        yield from _source(seen.source)
        yield _one("setpoint_supervisor_up", "1 while the supervisor answers.", seen.is_supervisor_up)
        yield from _disk(seen.disk)
        yield _one("setpoint_queue_depth", "Objects waiting to be looked at.", seen.queue_depth)
        yield _one("setpoint_tasks", "What the agent does at once, for clients and for itself.", seen.tasks)
        yield _one("setpoint_containers_unlisted", "Containers left out below.", seen.unlisted_containers)
        yield from _containers(seen)


def _gauge(
    name: str, text: str, labels: Iterable[str], samples: Iterable[tuple[tuple[str, ...], float]]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, text, labels=tuple(labels))
    for values, number in samples:
        family.add_metric(values, number)
    return family


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return _gauge(name, text, (), [((), float(value))])


def _objects(statuses: Mapping[Key, StatusRecord]) -> Iterator[Metric]:
    phases = Tally((key.kind, status.phase) for key, status in statuses.items())
    yield _gauge("setpoint_objects", "Objects by kind and phase.", ("kind", "phase"), phases.items())
    ready = Tally(key.kind for key, status in statuses.items() if status.ready)
    kinds = sorted({key.kind for key in statuses})
    by_kind = [((kind,), ready[kind]) for kind in kinds]
    yield _gauge("setpoint_objects_ready", "Objects that are Ready, by kind.", ("kind",), by_kind)
    restarts = CounterMetricFamily(
        "setpoint_container_restarts", "Restarts of an object's containers.", labels=("project", "name")
    )
    for key, status in statuses.items():
        if key.kind == "container":
            restarts.add_metric((key.project, key.name), status.restarts)
    yield restarts


def _disk(seen: DiskSeen) -> Iterator[Metric]:
    if seen.room is not None:
        yield _one("setpoint_disk_free_bytes", "Left on the disk of the data.", seen.room.free_bytes)
        yield _one("setpoint_disk_free_inodes", "Files that it can still hold.", seen.room.free_inodes)
    alarm = [((seen.alarm,), 1.0)] if seen.alarm else []
    yield _gauge("setpoint_disk_alarm", "What is wrong with the disk of the data.", ("reason",), alarm)
    yield _one("setpoint_disk_ballast_bytes", "Held back for when it is full.", seen.ballast_bytes)
    yield _one("setpoint_store_unstored_records", "Kept in memory alone by now.", seen.unstored)
    yield _one("setpoint_store_lost_events", "Not even kept in memory.", seen.lost_events)


def _source(source: Mapping[str, Any]) -> Iterator[Metric]:
    kind, revision = str(source.get("kind", "")), str(source.get("revision", ""))
    info = [((kind, revision), 1)] if revision else []
    yield _gauge("setpoint_source_revision_info", "The revision in force.", ("source", "revision"), info)
    yield _one("setpoint_source_errors", "Errors in the newest manifests.", len(source.get("errors", ())))
    yield _one("setpoint_source_up", "1 while the source can be read.", not source.get("error"))
    looked_at = float(source.get("looked_at") or 0.0)
    yield _one("setpoint_source_last_look_timestamp_seconds", "When the source was last read.", looked_at)


# family, help, is a counter, and what of Stats it shows
_CONTAINER_METRICS: tuple[tuple[str, str, bool, Callable[[Stats], float | None]], ...] = (
    ("cpu_seconds", "CPU time used.", True, lambda s: s.cpu_seconds),
    ("cpu_user_seconds", "CPU time used in user mode.", True, lambda s: s.cpu_user_seconds),
    ("cpu_system_seconds", "CPU time used in the kernel.", True, lambda s: s.cpu_system_seconds),
    ("cpu_throttled_seconds", "Time it waited for its CPU quota.", True, lambda s: s.throttled_seconds),
    ("memory_bytes", "Memory used, page cache left out.", False, lambda s: s.memory_bytes),
    ("memory_cache_bytes", "Page cache.", False, lambda s: s.memory_cache_bytes),
    ("memory_limit_bytes", "The memory limit, where there is one.", False, lambda s: s.memory_limit_bytes),
    ("oom_kills", "Processes killed for want of memory.", True, lambda s: s.oom_kills),
    ("pids", "Processes and threads.", False, lambda s: s.pids),
    ("pids_limit", "The limit of them, where there is one.", False, lambda s: s.pids_limit),
    ("io_read_bytes", "Read from block devices.", True, lambda s: s.io_read_bytes),
    ("io_written_bytes", "Written to block devices.", True, lambda s: s.io_write_bytes),
    ("network_received_bytes", "Received.", True, lambda s: s.network_received_bytes),
    ("network_sent_bytes", "Sent.", True, lambda s: s.network_sent_bytes),
    ("network_received_packets", "Received.", True, lambda s: s.network_received_packets),
    ("network_sent_packets", "Sent.", True, lambda s: s.network_sent_packets),
)


def _containers(seen: Seen) -> Iterator[Metric]:
    rows = _one_per_replica(seen.containers)
    running = [(labels, float(state.phase == "running")) for labels, state, _ in rows]
    yield _gauge("setpoint_container_running", "1 while it runs.", CONTAINER_LABELS, running)
    started = [(labels, state.started_at) for labels, state, _ in rows if state.started_at]
    yield _gauge("setpoint_container_start_timestamp_seconds", "When it started.", CONTAINER_LABELS, started)
    yield _gauge(
        "setpoint_container_health",
        "1 healthy, 0 not (or not yet); absent without a check.",
        CONTAINER_LABELS,
        _health(seen.statuses, rows),
    )
    for name, text, is_counter, value_of in _CONTAINER_METRICS:
        family = (CounterMetricFamily if is_counter else GaugeMetricFamily)(
            f"setpoint_container_{name}", text, labels=CONTAINER_LABELS
        )
        for labels, _state, stats in rows:
            value = value_of(stats) if stats is not None else None
            if value is not None:
                family.add_metric(labels, value)
        yield family


def _one_per_replica(
    containers: Iterable[tuple[ContainerState, Stats | None]],
) -> list[tuple[tuple[str, str, str], ContainerState, Stats | None]]:
    """While one replaces another, both have the same labels: the running, newer one is shown, since a
    page with one series twice is refused as a whole."""
    best: dict[tuple[str, str, str], tuple[ContainerState, Stats | None]] = {}
    for state, stats in sorted(containers, key=lambda pair: (pair[0].phase == "running", pair[0].created_at)):
        if labels := _labels(state):
            best[labels] = (state, stats)
    return [(labels, state, stats) for labels, (state, stats) in sorted(best.items())]


def _labels(state: ContainerState) -> tuple[str, str, str] | None:
    """project, name, replica; None for what no object of ours asked for."""
    project, _, rest = state.labels.get(LABEL_KEY, "").partition("/")
    kind, _, name = rest.partition("/")
    if not name or kind != "container":
        return None
    return project, name, state.labels.get(LABEL_INDEX, "1")


def _health(
    statuses: Mapping[Key, StatusRecord],
    rows: list[tuple[tuple[str, str, str], ContainerState, Stats | None]],
) -> Iterator[tuple[tuple[str, str, str], float]]:
    healths = {
        container.get("id"): container.get("health")
        for status in statuses.values()
        for container in status.containers
    }
    for labels, state, _stats in rows:
        health = healths.get(state.id)
        if health and health != "none":
            yield labels, float(health == "healthy")
