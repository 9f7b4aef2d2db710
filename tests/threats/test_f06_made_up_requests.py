"""F6: requests that somebody made up, as many as SETPOINT_FUZZ_REQUESTS says (1,000): none is a bug, none
changes what git owns, and nothing of them is left in the agent."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtime.layout import Layout
from tests.api.http_client import Http
from tests.e2e.story import PROGRAM, ROOT, Story

TRIES = int(os.environ.get("SETPOINT_FUZZ_REQUESTS", "1000"))  # a million once
SEED = int(os.environ.get("SETPOINT_FUZZ_SEED", "1"))
ANSWER_SECONDS = 0.1
PAGE = os.sysconf("SC_PAGE_SIZE")
SLACK_BYTES = 8 << 20  # what an allocator keeps
KEPT = """\
services:
  kept:
    image: busybox
    command: [sh, -c, "while :; do date; sleep 1; done"]
    volumes: [kept:/data]
volumes:
  kept: {}
"""


@pytest.fixture
def story(instance: Layout, busybox_archive: Path, tmp_path: Path) -> Iterator[Story]:
    """An agent with a container that git owns."""
    if os.geteuid() != 0 or not PROGRAM.exists():
        pytest.skip("needs root, and ops/up or ops/test to have made the program")
    story = Story(instance, tmp_path / "tree")
    story.tree.mkdir()
    story.git("init", "-q", "-b", "main")
    story.git("commit", "-q", "--allow-empty", "-m", "Begin")
    story.start_agent()
    try:
        story.setpoint("image", "load", busybox_archive)
        story.apply({"shop/compose.yaml": KEPT})
        yield story
    finally:
        story.take_down()


def _fuzz(story: Story, count: int, seed: int) -> dict[str, Any]:
    """In a process of its own: what is measured is the agent's alone."""
    words = [
        sys.executable,
        "-m",
        "tests.threats.http_fuzzer",
        str(story.layout.agent_socket),
        str(count),
        str(seed),
    ]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def _state(story: Story) -> list[tuple[Any, ...]]:
    """What git owns, as it is."""
    return [
        (each["key"], each["phase"], *((one["id"], one["pid"]) for one in each.get("containers", ())))
        for each in story.status()["objects"]
        if each["key"].startswith("shop/")
    ]


def _memory(story: Story) -> int:
    return int(Path(f"/proc/{story.agent_pid()}/statm").read_text().split()[1]) * PAGE


def test_f6_made_up_requests_do_no_harm(story: Story) -> None:
    """An answer or a closed connection, and never a bug."""
    is_long = TRIES > 10_000
    if is_long:
        signal.alarm(0)  # no test that hangs
    state, pid = _state(story), story.agent_pid()
    first = _fuzz(story, TRIES // 10, SEED + 1)["bugs"] if is_long else []  # all that is made once is there
    before = _memory(story)
    report = _fuzz(story, TRIES, SEED)
    print(f"\n{report['sent']} requests in {report['seconds']} s: {report['answers']}")
    print(f"the agent had {before} bytes, has {_memory(story)}")
    log = (story.layout.data / "agent.log").read_text()
    told = log[log.index("Traceback") - 500 :][:3000] if "Traceback" in log else ""
    if bugs := first + report["bugs"]:
        pytest.fail("\n".join(f"{request}\n  {answer}" for request, answer in bugs) + f"\n{told}")
    assert not told, told
    assert story.agent_pid() == pid
    assert _state(story) == state
    assert _asked(story) < ANSWER_SECONDS
    assert not is_long or _memory(story) < before * 1.05 + SLACK_BYTES


def _asked(story: Story) -> float:
    """How long a ping takes, in seconds; the best of three, since this host has other work."""
    http, best = Http(story.layout.agent_socket), float("inf")
    for _ in range(3):
        begun = time.monotonic()
        assert http("GET", "/_ping").status == 200
        best = min(best, time.monotonic() - begun)
    return best
