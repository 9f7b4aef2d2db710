"""Directories that something is built of, in a plain directory: what a build would see is what is told apart,
and what changes in them comes as a revision."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.manifest.objects import NO_DOCKERFILE, context_name, split_context
from agent.source import prints
from agent.source.prints import Prints, take_print
from tests.unit.source.support import following, until
from tests.unit.source.test_directory import QUICK, watching, write

WEB = "shop/web"


FILES = {
    "Dockerfile": "FROM busybox\n",
    ".dockerignore": "out\n*.log\n!keep.log\nDockerfile\nother\n",
    "index": "one",
    "in/deep/file": "x",
    "out/big": "y",
    "a.log": "log",
    "keep.log": "kept",
    "other/Dockerfile": "FROM x\n",
}


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A context with a bit of everything; what is ignored by its `.dockerignore` is in `out` and `*.log`."""
    place = tmp_path / WEB
    for name, text in FILES.items():
        write(place / name, text)
    (place / "link").symlink_to("index")
    (place / "empty").mkdir()
    return place


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda web: (web / "index").write_text("another"),
    "deep": lambda web: (web / "in/deep/file").write_text("changed"),
    "new": lambda web: (web / "new").touch(),
    "gone": lambda web: (web / "index").unlink(),
    "renamed": lambda web: (web / "in").rename(web / "within"),
    "mode": lambda web: (web / "index").chmod(0o755),
    "link": lambda web: ((web / "link").unlink(), (web / "link").symlink_to("in")),
    "empty directory": lambda web: (web / "empty").rmdir(),
    "exception": lambda web: (web / "keep.log").write_text("changed"),
    "what is ignored": lambda web: (web / ".dockerignore").write_text("out\n"),
    "ignored Dockerfile": lambda web: (web / "Dockerfile").write_text("FROM x\n"),
    "its own ignore file": lambda web: (web / "Dockerfile.dockerignore").write_text("out\n"),
}
NO_CHANGES: dict[str, Callable[[Path], object]] = {
    "ignored": lambda web: (web / "a.log").write_text("changed"),
    "ignored, below": lambda web: write(web / "out/more/of/it", "z"),
    "ignored, of another": lambda web: (web / "other/Dockerfile").write_text("FROM y\n"),
    "beside": lambda web: write(web.parent / "compose.env", "A=1"),
    "nothing": lambda web: None,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_build_would_see_is_another_word(tmp_path: Path, web: Path, name: str) -> None:
    before = take_print(tmp_path, WEB).word
    CHANGES[name](web)
    assert before.startswith("dir:") and take_print(tmp_path, WEB).word != before


@pytest.mark.parametrize("name", NO_CHANGES)
def test_what_it_would_not_see_is_the_same(tmp_path: Path, web: Path, name: str) -> None:
    before = take_print(tmp_path, WEB).word
    NO_CHANGES[name](web)
    assert take_print(tmp_path, WEB).word == before


def test_another_dockerfile_says_what_is_ignored(tmp_path: Path, web: Path) -> None:
    """One that is named counts though its directory is ignored, and its own ignore file goes first."""
    name = context_name(WEB, "other/Dockerfile")
    assert split_context(name) == (WEB, "other/Dockerfile") and split_context(WEB) == (WEB, "")
    before = take_print(tmp_path, name).word
    (web / "other/Dockerfile").write_text("FROM changed\n")
    changed = take_print(tmp_path, name).word
    assert changed != before
    (web / "other/Dockerfile.dockerignore").write_text("index\n")
    owned = take_print(tmp_path, name).word
    (web / "index").write_text("now it is ignored")
    assert take_print(tmp_path, name).word == owned != changed
    (web / "a.log").write_text("and this is not")
    assert take_print(tmp_path, name).word != owned


def test_a_directory_beside_a_context_has_an_ignore_file_alone(tmp_path: Path, web: Path) -> None:
    name = context_name(WEB, NO_DOCKERFILE)
    before = take_print(tmp_path, name).word
    (web / "Dockerfile.dockerignore").write_text("index\n")  # a file as any other
    assert (after := take_print(tmp_path, name).word) != before
    (web / "Dockerfile").write_text("which is ignored")
    assert take_print(tmp_path, name).word == after
    (web / "index").write_text("changed")
    assert take_print(tmp_path, name).word != after


def test_a_containerfile_where_there_is_no_dockerfile(tmp_path: Path, web: Path) -> None:
    (web / "Dockerfile").rename(web / "Containerfile")
    (web / "Containerfile.dockerignore").write_text("index\n")
    before = take_print(tmp_path, WEB).word
    (web / "index").write_text("ignored by that")
    assert take_print(tmp_path, WEB).word == before


def test_d4_no_link_leads_out_and_none_is_followed_within(tmp_path: Path, web: Path) -> None:
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    outside.mkdir()
    (outside / "file").touch()
    (tmp_path / "away").symlink_to(outside)
    (tmp_path / "near").symlink_to(WEB)
    assert take_print(tmp_path, "away").word == take_print(tmp_path, "none").word == ""
    assert take_print(tmp_path, f"{WEB}/index").word == ""
    assert (
        take_print(tmp_path, "near").word == take_print(tmp_path, WEB).word
    )  # within: as the build opens it
    (web / "around").symlink_to(outside)
    (web / "loop").symlink_to("..")
    before = take_print(tmp_path, WEB).word
    (outside / "file").write_text("changed")
    (outside / "another").touch()
    assert take_print(tmp_path, WEB).word == before
    (web / ".dockerignore").unlink()
    (web / ".dockerignore").symlink_to(outside / "file")
    assert take_print(tmp_path, WEB).ignore.is_ignored("a.log") is False


def test_odd_things_harm_nothing(tmp_path: Path, web: Path) -> None:
    os.mkfifo(web / "fifo")
    (web / os.fsdecode(b"\xff")).touch()
    assert take_print(tmp_path, WEB).word.startswith("dir:")
    (web / ".dockerignore").write_text("[\n")  # the build says so
    before = take_print(tmp_path, WEB).word
    (web / "a.log").write_text("changed")
    assert take_print(tmp_path, WEB).word != before
    (web / ".dockerignore").unlink()
    os.mkfifo(web / ".dockerignore")
    assert take_print(tmp_path, WEB).word.startswith("dir:")


def test_a_look_tells_which_changed(tmp_path: Path, web: Path) -> None:
    write(tmp_path / "other/file")
    seen = Prints(tmp_path)
    first, other = seen.tree_of(WEB), seen.tree_of("other")
    assert not seen.look(None) and not seen.look({f"{WEB}/index"})
    (web / "index").write_text("changed")
    assert seen.tree_of(WEB) == first  # what a revision said, it says again
    assert not seen.look({"other/file", f"{WEB}/a.log", "shop/compose.yaml"})
    assert seen.look({f"{WEB}/index"}) and not seen.look(None)
    assert seen.tree_of(WEB) != first and seen.tree_of("other") == other
    assert seen.is_relevant(f"{WEB}/index") and not seen.is_relevant(f"{WEB}/a.log")
    assert not seen.is_relevant("shop/webs/index")


def test_what_is_not_asked_for_again_is_forgotten(tmp_path: Path, web: Path) -> None:
    seen = Prints(tmp_path)
    assert seen.begin() == ()
    word = seen.tree_of(WEB)
    assert seen.begin() == (f"{word} {WEB}",)
    (web / "index").write_text("changed")
    assert seen.look(None)  # nobody has asked yet, and may
    assert seen.tree_of("none") == ""
    seen.begin()
    seen.begin()
    assert not seen.is_relevant(f"{WEB}/index")


def test_more_than_is_looked_at_is_said(tmp_path: Path, web: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prints, "MAX_ENTRIES", 5)
    seen = Prints(tmp_path)
    assert seen.tree_of(WEB) == "dir:over-5"
    assert seen.warnings() == ("shop/web has more than 5 files: what changes in it is not seen",)


def test_a_file_that_is_being_written_is_waited_for(tmp_path: Path, web: Path) -> None:
    seen = Prints(tmp_path)
    seen.tree_of(WEB)
    with (web / "index").open("w") as file:
        file.write("half")
        file.flush()
        assert not seen.look({f"{WEB}/index"}) and seen.busy == {f"{WEB}/index"}
        (web / "new").touch()
        assert not seen.look(set()) and seen.busy == {f"{WEB}/index"}
        file.write(", and the rest")
    assert seen.look(set()) and not seen.busy


def test_but_not_for_ever(tmp_path: Path, web: Path) -> None:
    seen = Prints(tmp_path)
    seen.tree_of(WEB)
    with (web / "index").open("w") as file:
        file.write("half")
        file.flush()
        assert not seen.look(None)
        assert seen.look(set(), hurried={f"{WEB}/index"}) and not seen.busy


async def test_a_change_is_a_revision_and_an_ignored_one_is_none(tmp_path: Path, web: Path) -> None:
    write(tmp_path / "shop/compose.yaml")
    async with watching(tmp_path) as (source, revisions):
        first = await following(revisions)
        word = first.tree_of(WEB)
        waiting = asyncio.ensure_future(anext(revisions))
        write(web / "index", "another")
        second = await asyncio.wait_for(waiting, 10)
        assert second.files == first.files and second.id != first.id and second.tree_of(WEB) != word
        waiting = asyncio.ensure_future(anext(revisions))
        write(web / "a.log", "another")
        write(web / "out/more", "another")
        write(tmp_path / "data/file", "of no build")
        source.sync()
        seen_at = source.status.seen_at
        await until(lambda: source.status.seen_at > seen_at)
        assert not waiting.done() and not source.is_polling
        write(web / "index", "a third")
        third = await asyncio.wait_for(waiting, 10)
        assert third.id not in (first.id, second.id)


async def test_the_slow_look_finds_what_no_event_tells(tmp_path: Path, web: Path) -> None:
    """Of a mode there is none. It is no reason to poll."""
    write(tmp_path / "shop/compose.yaml")
    async with watching(tmp_path, QUICK.__class__(settle=0.02, relist=0.1)) as (source, revisions):
        first = await following(revisions)
        word = first.tree_of(WEB)
        waiting = asyncio.ensure_future(anext(revisions))
        (web / "index").chmod(0o755)
        second = await asyncio.wait_for(waiting, 10)
        assert second.tree_of(WEB) != word and not source.is_polling
