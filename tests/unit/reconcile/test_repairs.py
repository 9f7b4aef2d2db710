"""How often drift is put back, and how much of a large instance one slow pass looks at."""

from __future__ import annotations

import pytest

from agent.reconcile import repairs
from agent.reconcile.memory import Memory, from_json, to_json
from agent.reconcile.repairs import Repair
from agent.reconcile.slices import AT_LEAST, SHARE, Slices
from runtime.model import Drift

LIMIT = Drift("cgroup", "aa", "pids.max is 1")


def test_the_first_are_put_back_at_once_then_ever_later() -> None:
    history: dict[str, Repair] = {}
    now, waits = 1000.0, []
    for _ in range(14):
        at = max(now, repairs.next_at(history.get("cgroup:aa")))
        waits.append(round(at - now, 3))
        history = repairs.noted(history, LIMIT, at)
        now = at + 0.125  # it is broken again
    assert waits == [0, 0, 0, 0, 0, 0.875, 1.875, 3.875, 7.875, 15.875, 31.875, 59.875, 59.875, 59.875]


def test_several_findings_put_back_in_one_go_are_one_repair() -> None:
    history = repairs.noted(repairs.noted({}, LIMIT, 1000.0), LIMIT, 1000.01)
    assert history == {"cgroup:aa": Repair(1, 1000.0, 1000.0)}


def test_what_is_not_due_says_when_it_is() -> None:
    history = {"cgroup:aa": Repair(6, 990.0, 999.0), "mount:aa": Repair(5, 990.0, 999.5)}
    mount, process = Drift("mount", "aa", ""), Drift("process", "aa", "")
    assert repairs.due((LIMIT, mount, process), history, 1000.0) == ((process,), 1000.5)
    assert repairs.due((LIMIT, mount), history, 1001.0) == ((LIMIT, mount), None)


def test_healthy_for_long_enough_it_is_as_if_new() -> None:
    history = {"cgroup:aa": Repair(40, 0.0, 1000.0)}
    assert repairs.noted(history, LIMIT, 1299.0)["cgroup:aa"] == Repair(41, 0.0, 1299.0)
    assert repairs.noted(history, LIMIT, 1300.0) == {"cgroup:aa": Repair(1, 1300.0, 1300.0)}
    assert repairs.noted(history, Drift("mount", "aa", ""), 1300.0) == {"mount:aa": Repair(1, 1300.0, 1300.0)}


def test_events_become_fewer_and_count() -> None:
    told = [n for n in range(1, 1000) if repairs.is_told(Repair(n, 0.0, 1.0))]
    assert told == [1, 2, 3, 4, 5, 8, 16, 32, 64, 128, 256, 512]
    assert repairs.flapping(Repair(5, 0.0, 1.0)) == ""
    said = repairs.flapping(Repair(8, 100.0, 107.0))
    assert said == "8 times in 7 s: something keeps changing it; not again for 8 s"
    assert repairs.next_at(Repair(10**9, 0.0, 100.0)) == 160.0


def test_the_history_survives_the_store() -> None:
    memory = Memory(repairs={"cgroup:aa": Repair(2, 1.0, 2.0)})
    assert from_json(to_json(memory)) == memory


def test_a_small_instance_is_looked_at_whole() -> None:
    slices = Slices()
    assert slices.next(["", "a", "b"]) == ("", "a", "b")
    slices.took(3, 0.001, 30.0)
    assert slices.next(["", "a", "b"]) == ("", "a", "b")


def test_a_large_one_takes_turns_and_nobody_is_left_out() -> None:
    slices, subjects = Slices(), [f"{n:05}" for n in range(1000)]
    passes = [slices.next(["", *subjects]) for _ in range(1000 // AT_LEAST + 1)]
    assert all(each[0] == "" and len(each) == AT_LEAST + 1 for each in passes)
    assert {subject for each in passes for subject in each} == {"", *subjects}


@pytest.mark.parametrize("each_seconds", [0.0001, 0.0004])
def test_the_slow_pass_keeps_to_its_share(each_seconds: float) -> None:
    slices, subjects = Slices(), [f"{n:05}" for n in range(10_000)]
    for _ in range(20):
        count = len(slices.next(subjects))
        slices.took(count, count * each_seconds, 30.0)
    assert 0.9 * SHARE < count * each_seconds / 30.0 <= 1.05 * SHARE
