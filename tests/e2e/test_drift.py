"""Drift on an instance that works: it is counted, `why` tells it, and who keeps breaking it does not
keep us busy."""

from __future__ import annotations

import os
import time
import urllib.request
from pathlib import Path

import pytest

from agent.client import Client
from agent.drill import kernel
from tests.e2e.story import Story, eventually

KEY = "shop/container/web"
MANIFEST = """\
services:
  web:
    image: busybox:latest
    command: [sleep, "1000"]
    stop_signal: SIGKILL
    pids_limit: 50
"""


def _pids_file(story: Story) -> Path:
    found = story.object(KEY)
    assert found is not None
    path = f"/{story.layout.cgroup_parent}/{found['containers'][0]['id']}"
    return kernel.cgroup_file(path, "pids", "pids.max")


def _repairs(story: Story, **labels: str) -> float:
    address = Client(story.layout.agent_socket).version()["metrics"]
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    wanted = [f'{name}="{value}"' for name, value in labels.items()]
    found = (line for line in lines if line.startswith("setpoint_drift_repairs_total{"))
    return sum(float(line.split()[-1]) for line in found if all(each in line for each in wanted))


def _is_watched(story: Story, file: Path) -> bool:
    """By the agent: an inotify descriptor of its names the file's inode (proc(5), fdinfo)."""
    inode, pid = f"ino:{file.stat().st_ino:x} ", story.agent_pid()
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            if inode in info.read_text():
                return True
        except OSError:
            continue
    return False


def test_a_changed_limit_is_put_back_counted_and_told(story: Story) -> None:
    story.apply({"shop/compose.yaml": MANIFEST})
    pid, file = story.pid(KEY), _pids_file(story)
    eventually(lambda: _is_watched(story, file), "the limit is watched")
    file.write_text("7")
    eventually(lambda: file.read_text() == "50\n", "the limit is back")
    said = eventually(lambda: _why(story, "shop/web"), "why tells it")
    assert "pids.max: expected 50, found 7" in said
    assert "noticed by files" in said
    assert _repairs(story, kind="container", cause="cgroup", outcome="ok") == 1
    assert story.pid(KEY) == pid
    found = story.object(KEY)
    assert found is not None
    assert found["restarts"] == 0


def _why(story: Story, name: str) -> str:
    said = story.setpoint("why", name)
    return said if "DriftRepaired" in said else ""


@pytest.mark.parametrize("family", ["inet", "bridge"])
def test_why_tells_what_is_the_hosts(story: Story, family: str) -> None:
    story.apply({"shop/compose.yaml": MANIFEST})
    before = kernel.table(story.layout.nft_table)
    kernel.nft(f"delete table {family} {story.layout.nft_table}")
    eventually(lambda: kernel.table(story.layout.nft_table) == before, "the table is back")
    said = eventually(lambda: _why(story, "engine/host/kernel"), "why tells it")
    assert f"the table of family {family} is missing" in said
    assert "noticed by network" in said


def test_who_keeps_breaking_it_does_not_keep_us_busy(story: Story) -> None:
    story.apply({"shop/compose.yaml": MANIFEST})
    pid, file = story.pid(KEY), _pids_file(story)
    eventually(lambda: _is_watched(story, file), "the limit is watched")
    agent = story.agent_pid()
    used, began = _cpu_seconds(agent), time.monotonic()
    while _repairs(story, kind="container", cause="cgroup") < 7:  # five at once, then after 1 s and 2 s
        end = time.monotonic() + 1.0
        while time.monotonic() < end:  # some ten thousand times
            file.write_text("7")
    assert _cpu_seconds(agent) - used < 0.5 * (time.monotonic() - began)
    eventually(lambda: file.read_text() == "50\n", "it is put back in the end")
    assert _repairs(story, kind="container", cause="cgroup") <= 12
    events = story.setpoint("events", "shop/web")
    assert events.count("DriftRepaired") == 5
    assert events.count("DriftReturns") <= 1
    assert story.pid(KEY) == pid


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
