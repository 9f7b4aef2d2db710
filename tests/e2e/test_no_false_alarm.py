"""No false alarm: twenty containers that run well, while others start, stop and change."""

from __future__ import annotations

import threading
import time

from agent import checker
from tests.e2e.story import Story

STEADY = """\
x-base: &base
  image: busybox:latest
  command: [sleep, "100000"]
  stop_signal: SIGKILL
services:
"""
SECONDS = 5.0


def compose(count: int) -> str:
    lines = (f"  s{n}: {{<<: *base, mem_limit: {32 + n}m}}\n" for n in range(count))
    return STEADY + "".join(lines)


def test_a_busy_healthy_instance_gives_no_finding(story: Story) -> None:
    story.apply({"shop/compose.yaml": compose(20)})
    before = checker.take(story.layout)
    assert len(before.live) == 20
    assert checker.check(story.layout, before) == ()
    is_over = threading.Event()
    changing = threading.Thread(target=change, args=(story, is_over))
    changing.start()
    try:
        looks, deadline = 0, time.monotonic() + SECONDS
        while looks < 3 or time.monotonic() < deadline:
            assert [str(each) for each in checker.check(story.layout, before, patience_seconds=20.0)] == []
            looks += 1
    finally:
        is_over.set()
        changing.join()
    story.setpoint("wait", "--for", "ready", "--timeout", "30s")
    assert checker.check(story.layout, before) == ()


def change(story: Story, is_over: threading.Event) -> None:
    """Another project's containers, made, limited, scaled and removed as fast as it goes."""
    position = 0
    while not is_over.is_set():
        position += 1
        changes = (
            f"scale: {position % 4}, mem_limit: {20 + position % 3}m, environment: {{N: '{position // 3}'}}"
        )
        text = STEADY + f"  a: {{<<: *base, {changes}}}\n"
        story.commit({"churn/compose.yaml": text})
        story.setpoint("sync", code=None)
