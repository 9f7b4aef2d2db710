"""H7, CVE-2023-49568: a git server that answers without an end."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.source import git_program
from agent.source.git_program import run
from agent.source.source import Unreadable
from tests.unit.source.support import commit, make_repository


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git of the test's own, to be written."""
    path = tmp_path / "bin/git"
    path.parent.mkdir()
    monkeypatch.setenv("PATH", f"{path.parent}:{os.environ['PATH']}")
    return path


def write(program: Path, script: str) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_h7_an_endless_answer_is_cut_off(program: Path, tmp_path: Path) -> None:
    write(program, "while :; do echo 0123456789 refs/heads/main; done")
    with pytest.raises(Unreadable, match="printed over"):
        run(["ls-remote"], directory=tmp_path, timeout_seconds=1000)


def test_h7_endless_complaints_are_not_kept(program: Path, tmp_path: Path) -> None:
    write(program, "yes remote: | head -c 30000000 >&2; echo fatal: enough >&2; exit 128")
    with pytest.raises(Unreadable, match=r"^git fetch: enough"):
        run(["fetch"], directory=tmp_path, timeout_seconds=30)


def test_h7_an_answer_in_drops_ends_in_time(program: Path, tmp_path: Path) -> None:
    write(program, "while :; do echo; sleep 0.05; done")
    with pytest.raises(Unreadable, match="took over"):  # and never, if each drop counted as an answer
        run(["ls-remote"], directory=tmp_path, timeout_seconds=0.5)


def test_h7_more_names_than_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a real server: names that end as the one that is asked for does are sent, too."""
    repository = make_repository(tmp_path / "origin")
    id = commit(repository, web_yaml="a: 1")
    lines = [f"{id} refs/x/{number:07}/refs/heads/main\n" for number in range(20_000)]
    (repository / ".git/packed-refs").write_text(
        "# pack-refs with: peeled fully-peeled sorted \n" + "".join(lines)
    )
    monkeypatch.setattr(git_program, "MAX_OUTPUT", 1 << 18)
    with pytest.raises(Unreadable, match="printed over"):
        run(
            ["ls-remote", "--quiet", f"file://{repository}", "refs/heads/main"],
            directory=tmp_path, protocols="file",
        )  # fmt: skip
