"""Memory goes through JSON and back, and takes what another version wrote."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.reconcile.memory import NOTHING, Failure, HandedOver, Memory, Override, from_json, to_json
from agent.reconcile.policy import Exit, Health

times = st.floats(0, 2e9)
exits = st.builds(
    Exit, st.integers(1, 9), st.text("0123456789abcdef", max_size=8), st.none() | times, times,
    st.none() | st.integers(0, 255), st.booleans(), st.sampled_from(["self", "us", "unhealthy", "drift"]),
)  # fmt: skip
healths = st.builds(Health, st.just("aa"), times, st.sampled_from(["starting", "healthy", "unhealthy"]))
failures = st.builds(
    Failure, st.sampled_from(["invalid", "bug"]), st.text(), st.text(), st.text(), st.integers(1, 9), times,
    st.none() | times, st.text(),
)  # fmt: skip
memories = st.builds(
    Memory,
    exits=st.lists(exits, max_size=3).map(tuple),
    health=st.dictionaries(st.just("aa"), healths),
    restart_marks=st.dictionaries(st.text(max_size=3), st.none() | times, max_size=2),
    dependency_runs=st.dictionaries(st.text(max_size=3), st.text(), max_size=2),
    is_suspended=st.booleans(),
    restarts=st.integers(0, 9),
    failures=st.dictionaries(st.sampled_from(["0", "1"]), failures, max_size=2),
    prune_acknowledged=st.text(max_size=9),
    handed_over=st.none() | st.builds(HandedOver, st.just("a/container/b"), st.text(), st.integers(1, 9)),
    override=st.none() | st.builds(Override, times, times, st.text(), st.text()),
)


@given(memories)
def test_through_json_and_back(memory: Memory) -> None:
    assert from_json(json.loads(json.dumps(to_json(memory)))) == memory


def test_nothing_stores_nothing() -> None:
    assert to_json(NOTHING) == {} and from_json({}) is NOTHING


def test_what_is_unknown_or_broken_is_forgotten() -> None:
    found = from_json(
        {
            "exits": [
                {"index": 1, "container": "aa", "started_at": 1.0, "at": 2.0, "code": 0, "new": 1},
                {"at": 1},
                7,
            ],
            "health": "what",
            "restart_marks": [],
            "failures": {"1": None},
            "from_the_future": True,
        }
    )
    assert found == Memory(exits=(Exit(1, "aa", 1.0, 2.0, 0),))
