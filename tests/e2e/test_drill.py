"""`setpoint drill`: each kind of damage is put back within a second, because something told of it and not
because a slow pass came by, and without a restart of a container that has no need."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.drill.kinds import KINDS
from runtime.layout import Layout, drill_layout
from tests import leaks
from tests.e2e.story import PROGRAM

KIND_NAMES = [kind.name for kind in KINDS if not kind.lacks and not kind.at_host]


def _environment(instance: str) -> dict[str, str]:
    return {**os.environ, "SETPOINT_INSTANCE": instance}


@pytest.fixture(scope="module")
def drill() -> Iterator[Layout]:
    """The names that a drill of an instance of one's own has; nothing of it is left at the end."""
    if not PROGRAM.exists():
        pytest.skip(f"there is no {PROGRAM}: ops/up or ops/test makes it")
    layout = drill_layout(f"t{secrets.token_hex(4)}")
    yield layout
    left = leaks.find_leaks(layout)
    leaks.clean(layout)
    assert left == []
    assert not layout.data.exists()
    assert not Path(f"/run/{layout.instance}.lock").exists()


def _run(layout: Layout, *words: str) -> subprocess.CompletedProcess[str]:
    instance = layout.instance.removesuffix("-drill")
    return subprocess.run(
        [PROGRAM, "drill", *words],
        env=_environment(instance),
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.fixture(scope="module")
def results(drill: Layout) -> dict[str, dict[str, Any]]:
    words = [word for name in KIND_NAMES for word in ("--only", name)]
    done = _run(drill, *words, "-o", "json")
    assert done.stderr == ""
    found = {result["kind"]: result for result in json.loads(done.stdout)}
    assert done.returncode == (0 if all(result["is_good"] for result in found.values()) else 1)
    return found


@pytest.mark.parametrize("kind", KIND_NAMES)
def test_it_is_put_back_because_something_told_of_it(results: dict[str, dict[str, Any]], kind: str) -> None:
    result = results[kind]
    assert result["seconds"] is not None, result
    assert result["noticed"] in ("network", "files", "mounts", "signal", "itself", "exit"), result
    assert result["seconds"] < 1.0, result
    assert result["restarted"] == (["four"] if kind == "killed" else []), result
    assert result["is_good"], result


def test_what_is_the_hosts_is_put_back_too(drill: Layout) -> None:
    """All of it, as one drill: what came before counts. On a host that nobody else has: a network namespace
    for it, and for the agent that the drill starts."""
    host = [
        "unshare",
        "--net",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        'ip link set lo up; exec "$@"',
        "-",
    ]
    words = [PROGRAM, "drill", "--host", "-o", "json"]
    environment = _environment(drill.instance.removesuffix("-drill"))
    done = subprocess.run(
        [*host, *words], env=environment, capture_output=True, text=True, check=False, timeout=110
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    found = {result["kind"]: result for result in json.loads(done.stdout)}
    assert set(found) >= {"ruleset", "forwarding", "guarded-ports", "killed"}
    for each in ("ruleset", "forwarding"):
        assert found[each]["noticed"] == "network" and found[each]["seconds"] < 1.0, found


def test_nothing_is_left_of_it(results: dict[str, dict[str, Any]], drill: Layout) -> None:
    assert results
    assert leaks.find_leaks(drill) == []
    assert not drill.data.exists()
    assert not drill.run.exists()


def _begun(layout: Layout) -> subprocess.Popen[str]:
    """A drill whose containers run."""
    instance = layout.instance.removesuffix("-drill")
    process = subprocess.Popen(
        [PROGRAM, "drill"],
        env=_environment(instance),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("ok")
    return process


def _end(process: subprocess.Popen[str], number: int) -> int:
    process.send_signal(number)
    process.communicate(timeout=60)
    return process.returncode


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_cleans_up(drill: Layout, number: int) -> None:
    assert _end(_begun(drill), number) == 130
    assert leaks.find_leaks(drill) == []
    assert not drill.data.exists()
    assert not Path(f"/run/{drill.instance}.lock").exists()


def test_killed_it_is_found_by_the_next(drill: Layout) -> None:
    process = _begun(drill)
    assert "another drill runs" in _run(drill, "--only", "table").stderr
    _end(process, signal.SIGKILL)
    assert leaks.find_leaks(drill) != []
    done = _run(drill, "--only", "table")
    assert (done.returncode, done.stderr) == (0, "")
    assert leaks.find_leaks(drill) == []


def test_killed_it_is_found_by_down(drill: Layout) -> None:
    _end(_begun(drill), signal.SIGKILL)
    instance = drill.instance.removesuffix("-drill")
    done = subprocess.run(
        [PROGRAM, "down", "--yes"],
        env=_environment(instance),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "drill" in done.stdout
    assert leaks.find_leaks(drill) == []


def test_what_is_not_put_back_in_time_is_a_failure(drill: Layout) -> None:
    done = _run(drill, "--only", "netns", "--limit", "1ms")
    assert done.returncode == 1
    assert "FAILED  netns" in done.stdout
    assert "0 of 1" in done.stdout


def test_wrong_words(drill: Layout) -> None:
    done = _run(drill, "--only", "nonsense")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no such kind" in done.stderr
    assert "--host" in _run(drill, "--only", "ruleset").stderr
    assert set(_run(drill, "--list").stdout.split()) >= set(KIND_NAMES)
    assert "examples:" in _run(drill, "--help").stdout


def test_names_that_are_too_long_are_shortened() -> None:
    assert drill_layout("a" * 31).instance != drill_layout("b" * 31).instance
    assert len(drill_layout("a" * 31).instance) <= 31
