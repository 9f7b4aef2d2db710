"""R37: hundreds of containers, and everything that knew of them is killed: the agent answers at once, all is
ready soon after, and nothing was restarted that ran. The figures are printed (-s); the limits here are those
of a machine with other work to do."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.e2e.story import Story, eventually

pytestmark = pytest.mark.slow
COUNT = int(os.environ.get("SETPOINT_MANY", "500"))
# A network has room for some 250.
SERVICE = """\
  {name}:
    image: busybox:latest
    command: [sleep, "100000"]
    stop_signal: SIGKILL
    scale: {scale}
    networks: [{name}]
"""
NAMES = ("one", "two", "three", "four")
MANIFEST = "services:\n" + "".join(SERVICE.format(name=name, scale=COUNT // 4) for name in NAMES)
MANIFEST += "networks: {one: {}, two: {}, three: {}, four: {}}\n"
ANSWER_SECONDS, READY_SECONDS = 30.0, 120.0


def processes(story: Story) -> list[int]:
    found = story.status()["objects"]
    return sorted(each["pid"] for one in found for each in one["containers"] if each["pid"])


def supervisor(story: Story) -> int:
    path = Path(f"/proc/{processes(story)[0]}/stat")
    return int(path.read_text().rpartition(")")[2].split()[1])


def seconds_to_answer_and_ready(story: Story) -> tuple[float, float]:
    began = time.monotonic()
    story.start_agent()
    answers = time.monotonic() - began
    story.setpoint("wait", "--for", "ready", "--timeout", f"{READY_SECONDS}s")
    return answers, time.monotonic() - began


@pytest.fixture
def many(story: Story) -> Story:
    story.apply({"shop/compose.yaml": MANIFEST}, seconds=120.0)
    assert len(processes(story)) == COUNT // 4 * 4
    return story


def test_r37_the_agent_is_killed(many: Story) -> None:
    before = processes(many)
    many.kill(many.agent_pid())
    answers, ready = seconds_to_answer_and_ready(many)
    print(f"\nagent killed, {COUNT} containers: answers after {answers:.2f} s, all ready after {ready:.2f} s")
    assert processes(many) == before
    assert answers < ANSWER_SECONDS


def test_r37_agent_and_supervisor_are_killed(many: Story) -> None:
    before, agent = processes(many), many.agent_pid()
    many.kill(supervisor(many))
    many.kill(agent)
    answers, ready = seconds_to_answer_and_ready(many)
    print(f"\nboth killed, {COUNT} containers: answers after {answers:.2f} s, all ready after {ready:.2f} s")
    assert processes(many) == before
    assert answers < ANSWER_SECONDS


def test_r37_all_of_it_is_killed(many: Story) -> None:
    """As after a reboot, but for the run directory: each is started once, and none twice."""
    before, agent = processes(many), many.agent_pid()
    many.kill(agent)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    answers, ready = seconds_to_answer_and_ready(many)
    print(f"\nall killed, {COUNT} containers: answers after {answers:.2f} s, all ready after {ready:.2f} s")
    eventually(lambda: len(processes(many)) == COUNT // 4 * 4, "as many as before")
    assert set(processes(many)).isdisjoint(before)
    assert answers < ANSWER_SECONDS
