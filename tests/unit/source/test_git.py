"""A work tree's HEAD as a source: what is committed counts, read from git's objects."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from agent.manifest.objects import Revision
from agent.source import git_tree
from agent.source.choose import watch_directory
from agent.source.directory import DirectorySource
from agent.source.git import GitSource, find_repository
from agent.source.git_program import ObjectReader, environment, redact, run
from agent.source.git_tree import CommitReader, PathMissing, parse_commit, parse_tree
from agent.source.source import MAX_FILE_BYTES, Unreadable
from agent.source.watch import Watch
from runtime.errors import Invalid
from tests.unit.source.support import commit, following, git, make_repository, until


@asynccontextmanager
async def watching(
    path: Path, poll_seconds: float = 30
) -> AsyncIterator[tuple[GitSource, AsyncIterator[Revision]]]:
    repository = find_repository(path)
    assert repository is not None
    source = GitSource(path, repository, poll_seconds)
    revisions = source.revisions()
    try:
        yield source, revisions
    finally:
        await revisions.aclose()  # type: ignore[attr-defined]


async def change(repository: Path, message: str = "change", **files: str) -> str:
    return await asyncio.to_thread(commit, repository, message, **files)


async def test_what_is_committed_counts(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    first = commit(repository, "Add the shop", shop__web_yaml="a: 1")
    (repository / "shop/web.yaml").write_text("half saved")
    (repository / "shop/new.yaml").write_text("not added")
    async with watching(repository) as (source, revisions):
        found = await following(revisions)
        assert found == Revision(
            first, str(tmp_path), {"shop/web.yaml": b"a: 1"}, "Add the shop", "Ada", str(tmp_path)
        )
        assert source.status.revision == first

        second = await change(repository, "Two", shop__web_yaml="a: 2")
        found = await following(revisions)
        assert (found.id, dict(found.files)) == (
            second,
            {"shop/web.yaml": b"a: 2", "shop/new.yaml": b"not added"},
        )


async def test_a_commit_is_seen_at_once(tmp_path: Path) -> None:
    """The poll alone would take an hour each time."""
    repository = make_repository(tmp_path)
    commit(repository, a_yaml="0")
    async with watching(repository, poll_seconds=3600.0) as (_, revisions):
        await following(revisions)
        for number in range(1, 6):
            waiting = asyncio.ensure_future(anext(revisions))
            await change(repository, a_yaml=str(number))
            await asyncio.wait_for(waiting, 10)


async def test_branches_resets_packs_and_detached_heads(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    first = commit(repository, a_yaml="1")
    second = commit(repository, a_yaml="2")
    async with watching(repository) as (_, revisions):
        assert (await following(revisions)).id == second
        for command, expected in (
            (("reset", "-q", "--hard", first), first),
            (("checkout", "-q", "-b", "other", second), second),
            (("checkout", "-q", "main"), first),
            (("checkout", "-q", "--detach", second), second),
        ):
            waiting = asyncio.ensure_future(anext(revisions))
            await asyncio.to_thread(git, repository, *command)
            assert (await asyncio.wait_for(waiting, 10)).id == expected
        waiting = asyncio.ensure_future(anext(revisions))
        await asyncio.to_thread(git, repository, "gc", "-q", "--prune=now")
        await asyncio.to_thread(git, repository, "pack-refs", "--all")
        third = await change(repository, a_yaml="3")
        assert (await asyncio.wait_for(waiting, 10)).id == third


async def test_what_a_rebase_passes_through_is_not_wanted(tmp_path: Path) -> None:
    """HEAD is on the other side's commit meanwhile, which lacks what was committed here."""
    repository = make_repository(tmp_path)
    base = commit(repository, a_yaml="1")
    commit(repository, a_yaml="theirs")
    await asyncio.to_thread(git, repository, "checkout", "-q", "-b", "mine", base)
    commit(repository, mine_yaml="x")
    before = commit(repository, a_yaml="mine")
    async with watching(repository) as (source, revisions):
        assert (await following(revisions)).id == before
        waiting = asyncio.ensure_future(anext(revisions))
        for end in ("--abort", "--continue"):
            with pytest.raises(subprocess.CalledProcessError):
                await asyncio.to_thread(git, repository, "rebase", "main")
            await until(lambda: "a rebase is under way" in source.status.error)
            assert source.status.revision == before and not waiting.done()
            (repository / "a.yaml").write_text("both")
            await asyncio.to_thread(git, repository, "add", "a.yaml")
            await asyncio.to_thread(git, repository, "-c", "core.editor=true", "rebase", end)
            await until(lambda: not source.status.error)
        found = await asyncio.wait_for(waiting, 10)
        assert dict(found.files) == {"a.yaml": b"both", "mine.yaml": b"x"}


async def test_a_sub_directory_is_watched_alone(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    commit(repository, other__x_yaml="1")
    place = repository / "deploy"
    place.mkdir()
    async with watching(place) as (source, revisions):
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source.status.error)
        assert "is not committed" in source.status.error
        id = await change(repository, deploy__shop__web_yaml="a: 1")
        found = await asyncio.wait_for(waiting, 10)
        assert (found.id, dict(found.files), found.base) == (id, {"shop/web.yaml": b"a: 1"}, str(place))

        waiting = asyncio.ensure_future(anext(revisions))
        await asyncio.to_thread(git, repository, "rm", "-q", "-r", "deploy")
        emptied = await change(repository, "Empty")
        found = await asyncio.wait_for(waiting, 10)
        assert (found.id, dict(found.files)) == (emptied, {})


async def test_nothing_committed_yet(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    async with watching(repository) as (source, revisions):
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source.status.error)
        assert "nothing is committed yet" in source.status.error
        id = await change(repository, a_yaml="1")
        assert (await asyncio.wait_for(waiting, 10)).id == id
        assert source.status.error == ""


async def test_linked_work_trees(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "main")
    commit(repository, a_yaml="1")
    git(repository, "worktree", "add", "-q", "-b", "other", str(tmp_path / "linked"))
    async with watching(tmp_path / "linked") as (_, revisions):
        await following(revisions)
        waiting = asyncio.ensure_future(anext(revisions))
        id = await change(tmp_path / "linked", a_yaml="2")
        assert (await asyncio.wait_for(waiting, 10)).id == id


async def test_without_events_the_poll_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "start", lambda self, loop, directories: "no inotify here")
    repository = make_repository(tmp_path)
    commit(repository, a_yaml="1")
    async with watching(repository, poll_seconds=0.05) as (source, revisions):
        await following(revisions)
        waiting = asyncio.ensure_future(anext(revisions))
        id = await change(repository, a_yaml="2")
        assert (await asyncio.wait_for(waiting, 10)).id == id
        waiting = asyncio.ensure_future(anext(revisions))
        id = await change(repository, a_yaml="3")
        source.sync()
        assert (await asyncio.wait_for(waiting, 10)).id == id


async def test_a_damaged_repository_keeps_the_last_revision(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    first = commit(repository, a_yaml="1")
    async with watching(repository, poll_seconds=0.05) as (source, revisions):
        await following(revisions)
        waiting = asyncio.ensure_future(anext(revisions))
        (repository / ".git/HEAD").rename(repository / ".git/AWAY")
        await until(lambda: source.status.error)
        assert source.status.revision == first
        assert not waiting.done()
        (repository / ".git/AWAY").rename(repository / ".git/HEAD")
        await until(lambda: not source.status.error)
        id = await change(repository, a_yaml="2")
        assert (await asyncio.wait_for(waiting, 10)).id == id


async def test_an_idle_reader_is_ended_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.source.git.IDLE_SECONDS", -1.0)
    repository = make_repository(tmp_path)
    commit(repository, a_yaml="1")
    async with watching(repository, poll_seconds=0.02) as (source, revisions):
        await following(revisions)
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source._objects._process is None)
        id = await change(repository, a_yaml="2")
        assert (await asyncio.wait_for(waiting, 10)).id == id


def test_only_what_changed_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path)
    for number in range(30):
        (repository / f"p{number}").mkdir()
        (repository / f"p{number}/a.yaml").write_text(str(number))
    commit(repository)
    objects = ObjectReader(repository / ".git")
    reader = CommitReader(objects)
    asked: list[str] = []
    original = ObjectReader.read

    def counting(self, names, limit):  # type: ignore[no-untyped-def]
        names = list(names)
        asked.extend(names)
        return original(self, names, limit)

    monkeypatch.setattr(ObjectReader, "read", counting)
    before = reader.files(reader.commit("HEAD"), "")  # type: ignore[arg-type]
    commit(repository, p3__a_yaml="changed")
    asked.clear()
    after = reader.files(reader.commit("HEAD"), "")  # type: ignore[arg-type]
    objects.close()
    assert len(asked) == 4  # the commit, two trees, one blob
    assert after["p3/a.yaml"] == b"changed"
    assert all(after[path] is before[path] for path in before if path != "p3/a.yaml")


# --- hostile repositories ---------------------------------------------------------------------


def raw_tree(repository: Path, entries: bytes) -> str:
    """A tree object as it stands, which git mktree would refuse to make."""
    command = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    return (
        subprocess.run(command, cwd=repository, input=entries, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


def blob(repository: Path, data: bytes = b"a: 1") -> bytes:
    command = ["git", "hash-object", "-w", "--stdin"]
    return bytes.fromhex(
        subprocess.run(command, cwd=repository, input=data, capture_output=True, check=True).stdout.decode()
    )


def head(repository: Path, tree: str) -> None:
    id = git(repository, "commit-tree", tree, "-m", "hostile")
    git(repository, "update-ref", "refs/heads/main", id)


def files(repository: Path) -> dict[str, bytes]:
    objects = ObjectReader(repository / ".git")
    try:
        reader = CommitReader(objects)
        found = reader.commit("HEAD")
        assert found is not None
        return reader.files(found, "")
    finally:
        objects.close()


LEFT_OUT = {
    "link": lambda id: b"120000 x.yaml\0" + id,
    "link as .env": lambda id: b"120000 .env\0" + id,
    "submodule": lambda id: b"160000 x.yaml\0" + id,
    "dot git": lambda id: b"100644 .git\0" + id,
    "dot yaml": lambda id: b"100644 .x.yaml\0" + id,
    "other file": lambda id: b"100755 x.sh\0" + id,
}


@pytest.mark.parametrize("name", LEFT_OUT)
def test_entries_that_are_left_out(tmp_path: Path, name: str) -> None:
    repository = make_repository(tmp_path)
    id = blob(repository)
    head(repository, raw_tree(repository, LEFT_OUT[name](id) + b"100644 z.yaml\0" + id))
    assert files(repository) == {"z.yaml": b"a: 1"}


DAMAGED = {
    "dot dot": lambda id: b"100644 ..\0" + id,
    "dot": lambda id: b"40000 .\0" + id,
    "slash": lambda id: b"100644 ../../etc/x.yaml\0" + id,
    "no name": lambda id: b"100644 \0" + id,
    "short": lambda id: b"100644 x.yaml\0" + id[:10],
    "no mode": lambda id: b"x.yaml\0" + id,
    "noise": lambda id: os.urandom(64).replace(b" ", b"x"),
    "blob as a tree": lambda id: b"40000 x\0" + id,
    "gone blob": lambda id: b"100644 x.yaml\0" + bytes(20),
    "gone tree": lambda id: b"40000 x\0" + bytes(20),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_trees_are_an_error(tmp_path: Path, name: str) -> None:
    repository = make_repository(tmp_path)
    tree = raw_tree(repository, DAMAGED[name](blob(repository)))
    git(repository, "update-ref", "refs/heads/main", git(repository, "commit-tree", tree, "-m", "x"))
    with pytest.raises(Unreadable):
        files(repository)


def test_a_tree_that_multiplies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten thousand million entries in a few kilobytes: each level names the one below many times."""
    repository = make_repository(tmp_path)
    tree = raw_tree(repository, b"".join(b"100644 %02d.yaml\0" % n + blob(repository) for n in range(20)))
    for _ in range(8):
        tree = raw_tree(repository, b"".join(b"40000 %02d\0" % n + bytes.fromhex(tree) for n in range(20)))
    head(repository, tree)
    monkeypatch.setattr(git_tree, "MAX_ENTRIES", 10_000)
    with pytest.raises(Unreadable, match="too many files"):
        files(repository)


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make_repository(tmp_path)
    commit(repository, a_yaml="x" * 2_000_000, b_yaml="y" * 100)
    assert {name: len(data) for name, data in files(repository).items()} == {
        "a.yaml": MAX_FILE_BYTES,
        "b.yaml": 100,
    }
    monkeypatch.setattr(git_tree, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(Unreadable, match="too large"):
        files(repository)
    monkeypatch.setattr(git_tree, "MAX_FILES", 1)
    with pytest.raises(Unreadable, match="too many files"):
        files(repository)
    monkeypatch.setattr(git_tree, "MAX_TREE_BYTES", 10)
    with pytest.raises(Unreadable, match="too large"):
        files(repository)
    monkeypatch.setattr(git_tree, "MAX_COMMIT_BYTES", 10)
    with pytest.raises(Unreadable, match="too large"):
        files(repository)


async def test_a_repositorys_configuration_runs_nothing(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    trap = tmp_path.parent / "trap"
    script = tmp_path / ".git/trap.sh"
    script.write_text(f"#!/bin/sh\ntouch {trap}\n")
    script.chmod(0o755)
    commit(repository, a_yaml="1")
    for name in (
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "core.editor",
        "core.askPass",
        "diff.external",
    ):
        git(repository, "config", name, str(script))
    git(repository, "config", "alias.cat-file", f"!{script}")
    git(repository, "config", "filter.x.smudge", str(script))
    git(repository, "config", "extensions.partialClone", "origin")
    git(repository, "config", "remote.origin.promisor", "true")
    git(repository, "config", "remote.origin.url", f"ext::{script}")
    for hook in ("post-checkout", "reference-transaction", "post-index-change"):
        (repository / ".git/hooks").mkdir(exist_ok=True)
        (repository / f".git/hooks/{hook}").symlink_to(script)
    (repository / ".git/info").mkdir(exist_ok=True)
    (repository / ".git/info/attributes").write_text("* filter=x\n")
    trap.unlink(missing_ok=True)
    async with watching(repository) as (_, revisions):
        assert (await following(revisions)).files == {"a.yaml": b"1"}
    objects = ObjectReader(repository / ".git")
    assert list(objects.read(["1" * 40], 10)) == [None]  # a missing object, which must not be fetched
    objects.close()
    assert not trap.exists()


# --- pieces -----------------------------------------------------------------------------------


def test_which_source_a_directory_is(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    repository = make_repository(tmp_path / "repository")
    commit(repository, a_yaml="1")
    assert isinstance(watch_directory(plain), DirectorySource)
    assert isinstance(watch_directory(tmp_path / "later"), DirectorySource)
    assert isinstance(watch_directory(repository), GitSource)
    assert isinstance(watch_directory(repository, "plain"), DirectorySource)
    with pytest.raises(Invalid, match="not in a git work tree"):
        watch_directory(plain, "git")
    with pytest.raises(Invalid, match="not a directory"):
        watch_directory(repository / "a.yaml")
    (plain / ".git").write_text("gitdir: /nowhere")
    with pytest.raises(Unreadable):
        watch_directory(plain)


def test_a_path_that_the_commit_has_not(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    commit(repository, a__b_yaml="1")
    objects = ObjectReader(repository / ".git")
    reader = CommitReader(objects)
    found = reader.commit("HEAD")
    assert found is not None
    for path in ("gone", "a/gone", "a/b.yaml"):
        with pytest.raises(PathMissing):
            reader.files(found, path)
    assert reader.files(found, "a") == {"b.yaml": b"1"}
    assert reader.commit("refs/heads/gone") is None
    objects.close()


def test_commits_are_parsed() -> None:
    tree = "0" * 40
    people = "author Ada L <a@b> 5 +0000\ncommitter B <c> 7 +0000"
    data = f"tree {tree}\nparent {'1' * 40}\nparent {'2' * 40}\n{people}\n\n\nSubject\nbody"
    found = parse_commit("x", data.encode())
    assert (found.tree, found.parents, found.subject, found.author) == (
        tree,
        ("1" * 40, "2" * 40),
        "Subject",
        "Ada L",
    )
    assert found.committed_at == 7
    odd = parse_commit("x", f"tree {tree}\nauthor A <b> x\ncommitter ".encode())
    assert (odd.author, odd.committed_at, odd.subject) == ("A", 0, "")
    with pytest.raises(Unreadable):
        parse_commit("x", b"tree zz\n\n")


def test_trees_are_parsed() -> None:
    assert list(parse_tree(b"100644 a.yaml\0" + bytes(32), 32)) == [("100644", "a.yaml", "0" * 64)]
    assert list(parse_tree(b"", 20)) == []


def test_a_repository_of_longer_ids(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256")
    id = commit(tmp_path, a__b_yaml="1")
    assert len(id) == 64
    assert files(tmp_path) == {"a/b.yaml": b"1"}


def test_git_that_fails_says_why_and_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unreadable, match=r"^git rev-parse: not a git repository"):
        run(["rev-parse", "--git-dir"], directory=tmp_path)
    with pytest.raises(Unreadable) as caught:
        run(["ls-remote", "https://user:secret@127.0.0.1:1/x"], directory=tmp_path, protocols="https")
    assert "secret" not in str(caught.value)
    with pytest.raises(Unreadable, match="took over"):
        run(
            ["cat-file", "--batch-all-objects", "--batch"],
            directory=make_repository(tmp_path / "r"),
            timeout_seconds=0,
        )
    assert redact("https://a:b@host/x ssh://c@host") == "https://host/x ssh://host"
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(Unreadable, match="cannot run git"):
        run(["version"], directory=tmp_path)


def test_the_environment_is_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/evil")
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "/evil")
    found = environment("https")
    assert "GIT_DIR" not in found
    assert "GIT_EXTERNAL_DIFF" not in found
    assert found["GIT_ALLOW_PROTOCOL"] == "https"
    assert environment()["GIT_ALLOW_PROTOCOL"] == "none"


def test_a_reader_that_dies_comes_back(tmp_path: Path) -> None:
    repository = make_repository(tmp_path)
    commit(repository, a_yaml="1")
    objects = ObjectReader(repository / ".git")
    assert next(objects.read(["HEAD^{commit}"], 10_000)) is not None
    assert objects._process is not None
    objects._process.kill()
    objects._process.wait()
    assert next(objects.read(["HEAD^{commit}"], 10_000)) is not None
    with pytest.raises(Unreadable, match="line break"):
        list(objects.read(["a\nb"], 10))
    objects.close()
    objects.close()
    gone = ObjectReader(tmp_path / "gone")
    with pytest.raises(Unreadable):
        list(gone.read(["HEAD"], 10))
