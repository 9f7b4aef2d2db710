"""The queue gives each key once, in order, at its time, and never while it is worked on."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.reconcile.queue import KeyedQueue


def test_keys_come_once_and_in_order() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    for key in ("b", "a", "b"):
        queue.add(key)
    assert len(queue) == 2 and queue.has_ready()
    assert queue.take(0.0) == ["b", "a"]
    assert queue.take(0.0) == [] and not queue.has_ready()


def test_a_key_in_flight_waits_and_is_not_lost() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a")
    queue.take(0.0)
    queue.begin("a")
    queue.add("a")
    assert queue.take(0.0) == [] and not queue.has_ready()
    assert queue.is_in_flight("a") and queue.in_flight_count == 1 and queue.in_flight() == {"a"}
    queue.done("a")
    assert queue.take(0.0) == ["a"]


def test_later_comes_at_its_time_and_the_earliest_counts() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a", 10.0)
    queue.add("a", 20.0)
    assert queue.next_at() == 10.0
    queue.add("a", 5.0)
    assert queue.next_at() == 5.0
    assert queue.take(4.9) == []
    assert queue.take(5.0) == ["a"]
    assert queue.take(100.0) == [] and queue.next_at() is None


def test_now_goes_before_later() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a", 10.0)
    queue.add("a")
    queue.add("a", 5.0)  # it comes anyway
    assert queue.take(0.0) == ["a"]
    assert queue.next_at() is None and queue.take(99.0) == []


def test_a_taken_key_has_no_time_any_more() -> None:
    queue: KeyedQueue[str] = KeyedQueue()
    queue.add("a", 1.0)
    queue.add("b", 2.0)
    assert queue.take(3.0) == ["a", "b"]
    queue.add("a", 9.0)
    assert queue.next_at() == 9.0


def test_limit_and_discard() -> None:
    queue: KeyedQueue[int] = KeyedQueue()
    for key in range(5):
        queue.add(key)
    assert queue.take(0.0, limit=2) == [0, 1]
    assert queue.take(0.0, limit=0) == []
    queue.discard(2)
    queue.add(7, 3.0)
    queue.discard(7)
    assert queue.take(9.0) == [3, 4]
    assert queue.next_at() is None


class QueueMachine(RuleBasedStateMachine):
    """Against a model: a dict of due times and a set of keys in flight."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: KeyedQueue[int] = KeyedQueue()
        self.due: dict[int, float] = {}
        self.flying: set[int] = set()
        self.now = 0.0

    @rule(key=st.integers(0, 4), wait=st.one_of(st.none(), st.integers(0, 9)))
    def add(self, key: int, wait: int | None) -> None:
        self.queue.add(key, None if wait is None else self.now + wait)
        self.due[key] = min(self.due.get(key, 1e9), self.now + (wait or 0))

    @rule(key=st.integers(0, 4))
    def discard(self, key: int) -> None:
        self.queue.discard(key)
        self.due.pop(key, None)

    @rule(seconds=st.integers(0, 9))
    def time_goes_by(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def take(self) -> None:
        taken = self.queue.take(self.now)
        assert set(taken) == {k for k, at in self.due.items() if at <= self.now and k not in self.flying}
        assert len(taken) == len(set(taken))
        for key in taken:
            self.queue.begin(key)
            self.flying.add(key)
            del self.due[key]

    @rule(key=st.integers(0, 4))
    def done(self, key: int) -> None:
        self.queue.done(key)
        self.flying.discard(key)

    @invariant()
    def next_is_not_too_late(self) -> None:
        later = [at for at in self.due.values() if at > self.now]
        if later:
            assert (self.queue.next_at() or 0.0) <= min(later)


QueueMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestQueue = QueueMachine.TestCase
