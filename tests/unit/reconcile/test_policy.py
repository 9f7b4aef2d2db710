"""Restarts, retries and health, as tables of history and now."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.manifest.spec import Healthcheck, Restart
from agent.reconcile import policy
from agent.reconcile.policy import Exit, GiveUp, Health, RestartAt, StayDown


def ended(at: float, code: int | None = 1, ran: float = 0.1, **more: object) -> Exit:
    return Exit(1, "aa", at - ran, at, code, **more)  # type: ignore[arg-type]


def decide(policy_name: str, *exits: Exit, is_said: bool = True, now: float = 1000.0) -> policy.Decision:
    return policy.decide_restart(Restart(policy=policy_name), exits, is_said=is_said, now=now)  # type: ignore[arg-type]


# --- restarts -----------------------------------------------------------------------------------


def test_down_and_nobody_saw_why() -> None:
    assert decide("no") == RestartAt(1000.0, "is not running")


def test_stopped_by_us_starts_at_once() -> None:
    assert decide("no", ended(990, None, by="us")) == RestartAt(990, "was stopped")


@pytest.mark.parametrize(
    ("name", "code", "is_said", "expected"),
    [
        ("no", 0, False, StayDown(True, "exited with code 0")),
        ("no", 1, False, StayDown(False, "exited with code 1")),
        ("no", 137, True, StayDown(False, "exited with code 137")),
        ("no", 137, False, RestartAt(1000.0, "exited with code 137")),
        ("no", 139, False, StayDown(False, "exited with code 139")),  # SIGSEGV is its own doing
        ("no", None, False, RestartAt(1000.0, "ended, and its exit code is lost")),
        ("no", None, True, StayDown(False, "ended, and its exit code is lost")),  # as Docker after a reboot
        ("on-failure", 0, True, StayDown(True, "exited with code 0")),
        ("on-failure", 1, True, RestartAt(1000.0, "exited with code 1")),
        ("always", 0, True, RestartAt(1000.0, "exited with code 0")),
        ("unless-stopped", 0, True, RestartAt(1000.0, "exited with code 0")),
    ],
)
def test_policy_and_exit_code(name: str, code: int | None, is_said: bool, expected: object) -> None:
    assert decide(name, ended(1000, code), is_said=is_said) == expected


def test_out_of_memory_is_no_kill_from_outside() -> None:
    found = decide("no", ended(1000, 137, oom_killed=True), is_said=False)
    assert found == StayDown(False, "was killed for want of memory")


@pytest.mark.parametrize("by", ["unhealthy", "drift"])
def test_stopped_for_a_reason_starts_again_whatever_the_policy(by: str) -> None:
    assert isinstance(decide("no", ended(1000, None, by=by)), RestartAt)


def test_failures_in_a_row_wait_longer_up_to_a_minute() -> None:
    restart = Restart(policy="always", max_attempts=100)
    exits: list[Exit] = []
    waits = []
    for _ in range(14):
        exits.append(ended(1000.0))
        found = policy.decide_restart(restart, exits, is_said=True, now=1000.0)
        assert isinstance(found, RestartAt)
        waits.append(round(found.at - 1000.0, 3))
    assert waits == [0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 60, 60, 60]


def test_a_steady_run_makes_the_next_restart_a_first_one() -> None:
    exits = (ended(900), ended(910), ended(930, ran=15))
    assert policy.failures_in_a_row(exits) == 1
    assert policy.failures_in_a_row((*exits, ended(931))) == 2


def test_after_a_stop_by_us_counting_begins_anew() -> None:
    assert policy.failures_in_a_row((ended(900), ended(910, by="us"), ended(911))) == 1


def test_a_kill_after_a_second_is_no_failure_in_a_row() -> None:
    exits = tuple(ended(900.0 + 2 * n, 137, ran=1.5) for n in range(8))
    assert decide("always", *exits, now=915.0) == RestartAt(exits[-1].at, "exited with code 137")


def test_too_many_failures_give_up_and_time_alone_does_not_help() -> None:
    exits = tuple(ended(1000.0 + n, ran=0.5) for n in range(10))
    found = decide("always", *exits, now=99999.0)
    assert found == GiveUp("failed 10 times within 600 s, the last time it exited with code 1")


def test_failures_before_the_window_do_not_count() -> None:
    exits = (*(ended(100.0 + n) for n in range(9)), ended(1000.0))
    assert isinstance(decide("always", *exits), RestartAt)


def test_kills_from_outside_weigh_less_but_do_not_go_on_for_ever() -> None:
    kills = [ended(1000.0 + n, 137, ran=1.0) for n in range(50)]
    assert isinstance(decide("always", *kills[:49]), RestartAt)
    assert isinstance(decide("always", *kills), GiveUp)


def test_restarts_for_bad_health_are_limited() -> None:
    restart = Restart(max_attempts=3)
    unhealthy = [ended(1000.0 + n, None, by="unhealthy") for n in range(2)]
    assert policy.may_restart_unhealthy(restart, unhealthy[:1], 1002.0) == ""
    assert "failed 3 times" in policy.may_restart_unhealthy(restart, unhealthy, 1002.0)


def test_an_exit_says_what_it_was() -> None:
    assert str(ended(1, None, by="unhealthy")) == "was unhealthy"
    assert str(ended(1, None, by="drift")) == "could not be repaired in place"
    assert Exit(1, "aa", None, 5.0, 1).ran_seconds == 0.0
    assert Exit(1, "aa", 9.0, 5.0, 1).ran_seconds == 0.0  # a clock that was set back


def test_history_is_bounded_for_each_replica() -> None:
    exits: tuple[Exit, ...] = (Exit(2, "bb", 0, 1, 1),)
    for n in range(policy.KEPT_EXITS + 10):
        exits = policy.keep_exits(exits, ended(float(n)))
    assert len(exits) == policy.KEPT_EXITS + 1
    assert exits[0].index == 2 and exits[-1].at == policy.KEPT_EXITS + 9


@given(
    st.sampled_from(["no", "always", "on-failure", "unless-stopped"]),
    st.lists(
        st.tuples(
            st.floats(0, 1e6), st.one_of(st.none(), st.integers(0, 255)), st.floats(0, 1e5),
            st.sampled_from(["self", "us", "unhealthy", "drift"]), st.booleans(),
        ),
        max_size=30,
    ),
    st.booleans(),
)  # fmt: skip
def test_any_history_gives_a_decision_within_the_cap(name: str, history: list, is_said: bool) -> None:
    exits = [
        ended(at, code, ran, by=by, oom_killed=oom) for at, code, ran, by, oom in sorted(history, key=str)
    ]
    found = decide(name, *exits, is_said=is_said)
    if isinstance(found, RestartAt) and exits:
        assert 0 <= found.at - exits[-1].at <= policy.LONGEST_DELAY_SECONDS


# --- actions that failed ------------------------------------------------------------------------


def test_invalid_is_never_tried_again() -> None:
    assert policy.retry_at("invalid", 1, 1000.0) is None


@pytest.mark.parametrize(
    ("kind", "count", "asked", "wait"),
    [
        ("temporary", 1, 0.0, 0.1),
        ("temporary", 1, 5.0, 5.0),
        ("temporary", 20, 5.0, 60.0),
        ("conflict", 2, 0.0, 0.5),
        ("missing", 1, 0.0, 0.25),
        ("unsupported", 1, 0.0, 60.0),
        ("bug", 3, 0.0, 4.0),
    ],
)
def test_retries(kind: policy.FailureKind, count: int, asked: float, wait: float) -> None:
    assert policy.retry_at(kind, count, 1000.0, asked) == 1000.0 + wait


# --- health -------------------------------------------------------------------------------------


def probe_times(check: Healthcheck, *, until: float, is_ok: bool = False) -> tuple[list[float], Health]:
    health, now, times = Health("aa", 0.0), 0.0, []
    while (now := policy.next_probe_at(check, health, now)) <= until:
        times.append(round(now, 3))
        health = policy.after_probe(check, health, is_ok=is_ok, output="", now=now)
    return times, health


def test_early_probes_then_the_interval() -> None:
    times, health = probe_times(Healthcheck(interval=10, retries=3), until=31)
    assert times == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 20, 30]
    assert (health.status, health.failures) == ("unhealthy", 3)


def test_early_probes_never_count() -> None:
    _, health = probe_times(Healthcheck(interval=10, retries=1), until=9)
    assert (health.status, health.failures) == ("starting", 0)


def test_in_the_start_period_the_start_interval_counts_nothing() -> None:
    check = Healthcheck(interval=30, start_period=20, start_interval=2, retries=1)
    times, health = probe_times(check, until=29)
    assert times == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, *range(2, 21, 2)]
    assert health.status == "starting"
    times, health = probe_times(check, until=31)
    assert times[-1] == 30 and health.status == "unhealthy"


def test_without_a_start_interval_the_start_period_keeps_the_interval() -> None:
    times, _ = probe_times(Healthcheck(interval=8, start_period=20, start_interval=0), until=25)
    assert times[-3:] == [8, 16, 24]


def test_the_first_good_probe_makes_it_healthy() -> None:
    times, health = probe_times(Healthcheck(interval=5), until=11, is_ok=True)
    assert times == [0.05, 5.05, 10.05]
    assert (health.status, health.since) == ("healthy", 0.05)


def test_healthy_turns_unhealthy_after_retries_in_a_row_and_back_at_once() -> None:
    check = Healthcheck(interval=1, retries=2)
    health = Health("aa", 0.0, status="healthy", last_at=5.0, since=1.0)
    health = policy.after_probe(check, health, is_ok=False, output="x" * 9999, now=6.0)
    assert (health.status, health.failures, len(health.output)) == ("healthy", 1, 4096)
    health = policy.after_probe(check, health, is_ok=False, output="", now=7.0)
    assert (health.status, health.since) == ("unhealthy", 7.0)
    health = policy.after_probe(check, health, is_ok=False, output="", now=8.0)
    assert (health.status, health.failures, health.since) == ("unhealthy", 3, 7.0)
    health = policy.after_probe(check, health, is_ok=True, output="", now=9.0)
    assert (health.status, health.failures, health.since) == ("healthy", 0, 9.0)


def test_a_run_without_a_known_start_is_asked_from_now_on() -> None:
    assert policy.next_probe_at(Healthcheck(), Health("aa", None), 50.0) == 50.05
    assert policy.next_probe_at(Healthcheck(interval=7), Health("aa", None, status="healthy"), 50.0) == 57.0
