"""A commit on a branch of its own: nothing else of the repository is touched, whatever is in it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from agent.source.git import Repository, find_repository
from agent.source.git_commit import commit_on_branch
from agent.source.source import Unreadable
from runtime.errors import Conflict, Invalid

FILES = {"shop/compose.yaml": b"new\n", 'odd "name"\\\t\xc3\xa4'.encode().decode(): b"x\x00y"}


def git(tree: Path, *words: str) -> str:
    who = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org")
    done = subprocess.run(["git", *who, "-C", tree, *words], capture_output=True, check=True)
    return done.stdout.decode().strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    tree.mkdir()
    git(tree, "init", "-q", "-b", "main")
    (tree / "shop").mkdir()
    (tree / "shop/compose.yaml").write_text("old\n")
    (tree / "kept").write_text("kept\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "Begin")
    return tree


def repository(tree: Path) -> Repository:
    found = find_repository(tree)
    assert found is not None
    return found


def test_the_branch_has_the_files_and_all_else_is_as_it_was(tree: Path) -> None:
    hook = tree / ".git/hooks/reference-transaction"
    hook.write_text("#!/bin/sh\ntouch ../hook-ran\n")
    hook.chmod(0o755)
    (tree / "shop/compose.yaml").write_text("half-edited\n")
    base, before = git(tree, "rev-parse", "HEAD"), git(tree, "status", "--porcelain")
    commit = commit_on_branch(repository(tree), base, FILES, "setpoint/image-updates", "Update\n\n- a\n")
    assert git(tree, "rev-parse", "setpoint/image-updates", "HEAD").split() == [commit, base]
    assert git(tree, "show", f"{commit}:shop/compose.yaml") == "new"
    assert git(tree, "show", f"{commit}:kept") == "kept"
    assert git(tree, "log", "-1", "--format=%an %s|%b", commit).strip() == "Setpoint Update|- a"
    names = git(tree, "diff", "--name-only", "-z", base, commit).split("\0")
    assert sorted(filter(None, names)) == sorted(FILES)
    assert git(tree, "status", "--porcelain") == before
    assert not (tree / "hook-ran").exists() and not (tree.parent / "hook-ran").exists()
    git(tree, "fsck", "--strict")


def test_a_branch_goes_on_when_it_was_merged_and_not_when_it_has_commits_of_its_own(tree: Path) -> None:
    base = git(tree, "rev-parse", "HEAD")
    commit_on_branch(repository(tree), base, {"kept": b"1"}, "next", "One")
    with pytest.raises(Conflict, match="commits of its own"):
        commit_on_branch(repository(tree), base, {"kept": b"2"}, "next", "Two")
    git(tree, "merge", "-q", "next")
    base = git(tree, "rev-parse", "HEAD")
    commit = commit_on_branch(repository(tree), base, {"kept": b"2"}, "next", "Two")
    assert git(tree, "rev-parse", "next", f"{commit}^").split() == [commit, base]


def test_what_is_checked_out_is_never_written(tree: Path) -> None:
    base = git(tree, "rev-parse", "HEAD")
    git(tree, "worktree", "add", "-q", "-b", "elsewhere", str(tree.parent / "elsewhere"))
    for branch in ("main", "elsewhere"):
        with pytest.raises(Invalid, match="checked out"):
            commit_on_branch(repository(tree), base, FILES, branch, "No")
    assert git(tree, "rev-parse", "main", "elsewhere").split() == [base, base]


@pytest.mark.parametrize("branch", ["", "-x", "a..b", "a b", "a\nb", "x.lock", "@{-1}", "a/", "refs/../x"])
def test_a_name_that_is_no_branch(tree: Path, branch: str) -> None:
    with pytest.raises(Invalid):
        commit_on_branch(repository(tree), git(tree, "rev-parse", "HEAD"), FILES, branch, "No")


def test_a_message_and_a_path_cannot_become_commands(tree: Path) -> None:
    base = git(tree, "rev-parse", "HEAD")
    evil = "x\ndata 1\n\nreset refs/heads/main\nfrom 0000000000000000000000000000000000000000\n"
    files = {"a\nreset refs/heads/main\n": b"deleteall\nreset refs/heads/main\n"}
    commit_on_branch(repository(tree), base, files, "next", evil)
    assert git(tree, "rev-parse", "main") == base
    assert git(tree, "for-each-ref", "--format=%(refname)").split() == ["refs/heads/main", "refs/heads/next"]
    with pytest.raises(Invalid, match="not an author"):
        commit_on_branch(repository(tree), base, files, "more", "x", author="A <a@b>\nfrom x")
    for none in ("0" * 40, "main", f"{base}\nreset refs/heads/main"):
        with pytest.raises(Invalid, match="not the id of a commit"):
            commit_on_branch(repository(tree), none, files, "more", "x")
    with pytest.raises(Unreadable):
        commit_on_branch(repository(tree), "1" * 40, files, "more", "x")
