"""The verbs on containers that run: exec, logs, stats, top, suspend, restart, and down."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from pathlib import Path

from tests import leaks
from tests.e2e.story import PROGRAM, Story, eventually, is_alive

KEY = "shop/container/web"
COMPOSE = """\
services:
  web:
    image: busybox:latest
    command: [sh, -c, "echo out; echo err >&2; exec sleep 1000"]
    stop_signal: SIGKILL
    restart: always
    mem_limit: 64m
    environment: {COLOUR: red}
"""


def test_exec(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    assert story.setpoint("exec", "shop/web", "echo", "a b", "$HOME") == "a b $HOME\n"
    assert (
        story.setpoint("exec", "-e", "X=1", "-w", "/etc", "shop/web", "sh", "-c", "echo $COLOUR $X $PWD")
        == "red 1 /etc\n"
    )
    assert story.setpoint("exec", "-i", "shop/web", "cat", stdin="through\n") == "through\n"
    story.setpoint("exec", "shop/web", "sh", "-c", "echo to-stderr >&2; exit 7", code=7)
    assert story.said == "to-stderr\n"
    story.setpoint("exec", "shop/web", "/no/such/program", code=None)
    assert "Traceback" not in story.said
    story.setpoint("exec", "shop/nothing", "true", code=1)


def test_exec_with_a_terminal(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - another program from here on
        os.environ["SETPOINT_INSTANCE"] = story.layout.instance
        os.execv(
            PROGRAM, [str(PROGRAM), "exec", "-it", "shop/web", "sh", "-c", "tty; read line; echo got $line"]
        )
    try:
        shown = b""
        while b"/dev/" not in shown:
            shown += os.read(terminal, 4096)
        os.write(terminal, b"words\r")
        while b"got words" not in shown:
            shown += os.read(terminal, 4096)
    finally:
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0


def test_logs(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    eventually(lambda: "out" in story.setpoint("logs", "shop/web"), "it printed")
    eventually(lambda: story.setpoint("logs", "shop/web") and "err" in story.said, "and to stderr")
    stamped = story.setpoint("logs", "shop/web", "-t", "--tail", "1", "--replica", "1")
    assert stamped.startswith("20") or story.said.startswith("20")
    with subprocess.Popen(
        [PROGRAM, "logs", "-f", "shop/web"],
        env=story.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as follower:
        assert follower.stdout is not None
        assert b"out" in follower.stdout.readline()
        story.kill(story.pid(KEY))
        assert b"out" in follower.stdout.readline()  # the next run's, in the same stream
        follower.kill()


def test_stats_and_top(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    stats = json.loads(story.setpoint("stats", "-o", "json"))
    assert [s["memory_limit_bytes"] for s in stats] == [64 * 1024 * 1024]
    assert 0 < stats[0]["memory_bytes"] < 64 * 1024 * 1024
    assert stats[0]["pids"] == 1
    assert "shop" in story.setpoint("stats")
    assert "sleep" in story.setpoint("top", "shop/web")


def test_restart(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    pid = story.pid(KEY)
    story.setpoint("restart", "shop/web")
    eventually(lambda: not is_alive(pid), "the old process ended")
    story.setpoint("wait", "--for", "ready", "shop/web")
    eventually(
        lambda: (story.object(KEY) or {})["containers"][0].get("pid") not in (None, pid), "a new one runs"
    )


def test_what_is_suspended_is_left_alone(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    story.setpoint("suspend", "shop/web")
    pid = story.pid(KEY)
    story.kill(pid)
    story.setpoint("sync")
    assert not [p for p in leaks.processes(story.layout) if leaks.command_of(p).startswith("sleep")]
    story.setpoint("resume", "shop/web")
    eventually(
        lambda: [p for p in leaks.processes(story.layout) if "sleep" in leaks.command_of(p)], "it runs again"
    )


def test_metrics_are_clean(story: Story, tmp_path: Path) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    log = (story.layout.data / "agent.log").read_text()
    port = int(log.partition("metrics on http://127.0.0.1:")[2].partition("/")[0])
    text = story.fetch_path(port, "/metrics")
    assert 'setpoint_container_running{name="web",project="shop",replica="1"} 1.0' in text
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_down_leaves_nothing_but_the_data(story: Story) -> None:
    text = COMPOSE + "    volumes: [data:/data]\nvolumes: {data: {}}\n"
    story.apply({"shop/compose.yaml": text})
    pid = story.pid(KEY)
    story.setpoint("down", code=1)
    assert "add --yes" in story.said
    assert is_alive(pid)
    story.setpoint("down", "--yes")
    assert not is_alive(pid)
    assert leaks.find_leaks(story.layout) == []
    assert not story.layout.run.exists()
    assert (story.layout.volumes / "shop_data").is_dir()
    story.setpoint("down", "--yes", "--data")
    assert not story.layout.data.exists()
    assert "nothing of" in story.setpoint("down", "--yes")


def test_down_without_an_agent(story: Story) -> None:
    story.apply({"shop/compose.yaml": COMPOSE})
    pid = story.pid(KEY)
    story.kill(story.agent_pid())
    for supervisor in (p for p in leaks.processes(story.layout) if "supervisor" in leaks.command_of(p)):
        story.kill(supervisor)
    story.setpoint("down", "--yes")
    assert not is_alive(pid)
    assert leaks.find_leaks(story.layout) == []
