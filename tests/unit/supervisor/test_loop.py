"""The epoll loop: timers, guarded callbacks, children."""

from __future__ import annotations

import os
import signal

import pytest

from runtime.supervisor import loop as loop_module
from runtime.supervisor.loop import READ, Loop


def test_timers_run_in_order_and_can_be_cancelled() -> None:
    loop, seen = Loop(), []
    loop.call_later(0.002, lambda: seen.append("late"))
    loop.call_later(0.001, lambda: seen.append("early"))
    loop.call_later(0.001, lambda: seen.append("never")).cancel()
    while len(seen) < 2:
        loop.run_once()
    assert seen == ["early", "late"]


def test_a_descriptor_is_told_until_it_is_forgotten() -> None:
    loop, seen = Loop(), []
    reader, writer = os.pipe()
    loop.watch(reader, READ, lambda _events: seen.append(os.read(reader, 1)))
    os.write(writer, b"ab")
    loop.run_once()
    loop.run_once()
    assert seen == [b"a", b"b"]
    loop.forget(reader)
    loop.forget(reader)
    os.write(writer, b"c")
    loop.call_later(0.001, lambda: seen.append(b"timer"))
    while b"timer" not in seen:
        loop.run_once()
    assert seen == [b"a", b"b", b"timer"]
    os.close(reader)
    os.close(writer)


def test_a_callback_forgotten_in_its_round_is_not_called() -> None:
    loop, seen = Loop(), []
    pipes = [os.pipe(), os.pipe()]
    for number, (reader, writer) in enumerate(pipes):
        os.write(writer, b"x")

        def callback(_events: int, number: int = number) -> None:
            seen.append(number)
            for other, _ in pipes:
                loop.forget(other)

        loop.watch(reader, READ, callback)
    loop.run_once()
    assert len(seen) == 1
    for fd in (*pipes[0], *pipes[1]):
        os.close(fd)


def test_a_callback_that_fails_costs_no_other_and_not_for_ever(capsys: pytest.CaptureFixture[str]) -> None:
    loop, seen = Loop(), []
    bad, good = os.pipe(), os.pipe()

    def fail(_events: int) -> None:
        seen.append("bad")
        raise ValueError("a bug")

    loop.watch(bad[0], READ, fail)
    loop.watch(good[0], READ, lambda _events: seen.append("good"))
    os.write(bad[1], b"x")
    os.write(good[1], b"x")
    for _ in range(20):
        loop.run_once()
    assert seen.count("good") == 20
    assert seen.count("bad") == loop_module.MAX_FAILURES
    assert "a bug" in capsys.readouterr().err
    for fd in (*bad, *good):
        os.close(fd)


def test_the_end_of_a_child_wakes_the_loop() -> None:
    loop, seen = Loop(), []
    before = signal.getsignal(signal.SIGCHLD)
    loop.watch_children(lambda: seen.append(True))
    try:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        while not seen:
            loop.run_once()
        os.waitpid(pid, 0)
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, before)
