"""In which order, and how patiently, everything is brought down."""

from __future__ import annotations

from typing import Any

from agent.down import grace_of, in_order
from agent.reconcile.convert import LABEL_KEY
from runtime.model import ContainerState
from store.records import Key, ObjectRecord


def record(name: str, **spec: Any) -> tuple[Key, ObjectRecord]:
    key = Key("shop", "container", name)
    return key, ObjectRecord(key, "git", spec, "", 1, 1, "shop/compose.yaml", 1, "")


def state(name: str) -> ContainerState:
    return ContainerState(name, name, {LABEL_KEY: f"shop/container/{name}"}, "running")


def test_who_depends_on_others_goes_first() -> None:
    records = dict(
        [
            record("db"),
            record("app", depends_on={"db": {"condition": "service_healthy"}}),
            record("web", depends_on={"app": {}, "gone": {}}),
            record("sidecar", network_mode="service:web"),
            record("alone"),
        ]
    )
    states = [state(name) for name in ("db", "app", "web", "sidecar", "alone", "unknown")]
    assert in_order(states, records) == [("sidecar", "alone", "unknown"), ("web",), ("app",), ("db",)]


def test_who_depend_on_each_other_go_together() -> None:
    records = dict([record("a", depends_on={"b": {}}), record("b", depends_on={"a": {}})])
    assert in_order([state("a"), state("b")], records) == [("a", "b")]
    assert in_order([state("a"), state("b")], {}) == [("a", "b")]
    assert in_order([], records) == []


def test_each_has_the_time_that_it_was_given() -> None:
    records = dict([record("patient", stop_grace_period=60.0), record("plain")])
    assert [grace_of(state(name), records) for name in ("patient", "plain", "unknown")] == [60.0, 10.0, 10.0]
