"""Threads for what waits for a disk: few, made as they are needed, and none is lost to a job that fails."""

from __future__ import annotations

import threading

import pytest

from runtime.threads import Threads

PATIENCE_SECONDS = 20.0


def names() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "test jobs"]


@pytest.fixture
def threads() -> Threads:
    return Threads("test jobs", 2)


def test_as_many_as_there_is_work_for_and_no_more(threads: Threads) -> None:
    goes_on, began = threading.Event(), threading.Semaphore(0)

    def job() -> None:
        began.release()
        goes_on.wait(PATIENCE_SECONDS)

    done = [threads.do(job, 1)]
    assert began.acquire(timeout=PATIENCE_SECONDS) and len(names()) == 1
    done += [threads.do(job, under_way) for under_way in (2, 3)]
    assert began.acquire(timeout=PATIENCE_SECONDS) and len(names()) == 2
    goes_on.set()
    for each in done:
        each.result(PATIENCE_SECONDS)
    threads.close()


def test_a_job_that_fails_is_told_and_holds_nobody_up(
    threads: Threads, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("broken")

    for _ in range(3):
        threads.do(fail, 1).result(PATIENCE_SECONDS)
    assert caplog.text.count("RuntimeError: broken") == 3 and len(names()) == 1
    threads.close()


def test_what_was_asked_for_is_done_before_they_end(threads: Threads) -> None:
    seen: list[int] = []
    done = [threads.do(lambda n=n: seen.append(n), 1) for n in range(5)]  # type: ignore[misc]
    threads.close()
    for each in done:
        each.result(PATIENCE_SECONDS)
    assert seen == [0, 1, 2, 3, 4]
    for each in threading.enumerate():
        if each.name == "test jobs":
            each.join(PATIENCE_SECONDS)
    assert names() == []
