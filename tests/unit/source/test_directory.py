"""A plain directory: what is saved comes through, whatever else lies in it harms nobody."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from watchdog.observers.inotify import InotifyWatchGroup

from agent.manifest.objects import Revision
from agent.source import tree
from agent.source.directory import DirectorySource, Timing
from agent.source.source import MAX_FILE_BYTES, Unreadable, is_wanted
from agent.source.tree import read_directory
from agent.source.watch import MANY, Watch
from tests.unit.source.support import following, until

QUICK = Timing(settle=0.02, relist=30.0, poll=0.05, patience=0.5)


@asynccontextmanager
async def watching(
    path: Path, timing: Timing = QUICK
) -> AsyncIterator[tuple[DirectorySource, AsyncIterator[Revision]]]:
    source = DirectorySource(path, timing)
    revisions = source.revisions()
    try:
        yield source, revisions
    finally:
        await revisions.aclose()  # type: ignore[attr-defined]


def write(path: Path, text: str = "a: 1") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


async def test_first_look_and_every_kind_of_change(tmp_path: Path) -> None:
    write(tmp_path / "shop/web.yaml")
    async with watching(tmp_path) as (source, revisions):
        first = await following(revisions)
        assert first.files == {"shop/web.yaml": b"a: 1"}
        assert first.base == first.source == str(tmp_path)
        assert source.status.revision == first.id

        write(tmp_path / "shop/web.yaml", "a: 2")
        assert (await following(revisions)).files == {"shop/web.yaml": b"a: 2"}

        write(tmp_path / "new/deep/er.yaml")
        assert "new/deep/er.yaml" in (await following(revisions)).files

        (tmp_path / "shop/web.yaml").rename(tmp_path / "shop/api.yaml")
        assert set((await following(revisions)).files) == {"shop/api.yaml", "new/deep/er.yaml"}

        (tmp_path / "new").rename(tmp_path / "old")
        assert set((await following(revisions)).files) == {"shop/api.yaml", "old/deep/er.yaml"}

        write(tmp_path / "web.env.part")
        (tmp_path / "web.env.part").replace(tmp_path / ".env")
        assert ".env" in (await following(revisions)).files

        shutil.rmtree(tmp_path / "old")
        assert set((await following(revisions)).files) == {"shop/api.yaml", ".env"}
        assert not source.is_polling


async def test_a_directory_made_while_its_parent_is_walked_is_watched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent is watched, so there is an event of it, and the walk of the parent meets it, too."""
    add = InotifyWatchGroup._add_callback

    def add_slowly(group: InotifyWatchGroup, path: bytes) -> None:
        add(group, path)
        if path.endswith(b"/new"):
            os.makedirs(os.path.join(path, b"deep"), exist_ok=True)

    monkeypatch.setattr(InotifyWatchGroup, "_add_callback", add_slowly)
    async with watching(tmp_path) as (source, revisions):
        await following(revisions)
        (tmp_path / "new").mkdir()
        await until(lambda: (tmp_path / "new/deep").exists())
        for name in ("a.yaml", "b.yaml"):
            write(tmp_path / "new/deep" / name)
            assert f"new/deep/{name}" in (await following(revisions)).files
        assert not source.is_polling


async def test_equal_states_have_equal_ids(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    async with watching(tmp_path) as (_, revisions):
        first = await following(revisions)
        write(tmp_path / "a.yaml", "b: 1")
        second = await following(revisions)
        write(tmp_path / "a.yaml")
        third = await following(revisions)
    assert first.id == third.id != second.id
    assert first.id == read_directory(tmp_path).id
    assert first.id.startswith("dir-")


async def test_a_save_that_changes_nothing_is_no_revision(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    async with watching(tmp_path) as (source, revisions):
        await following(revisions)
        seen_at = source.status.seen_at
        waiting = asyncio.ensure_future(anext(revisions))
        write(tmp_path / "a.yaml")
        await until(lambda: source.status.seen_at > seen_at)
        write(tmp_path / "b.yaml")
        assert set((await asyncio.wait_for(waiting, 10)).files) == {"a.yaml", "b.yaml"}


async def test_many_changes_come_as_one_state(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    async with watching(tmp_path, Timing(settle=0.2)) as (_, revisions):
        await following(revisions)
        waiting = asyncio.ensure_future(anext(revisions))
        for number in range(200):
            write(tmp_path / f"p/{number}.yaml")
        assert len((await asyncio.wait_for(waiting, 10)).files) == 201


async def test_sync_looks_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Watch, "start", lambda self, loop, directories: "")
    write(tmp_path / "a.yaml")
    async with watching(tmp_path) as (source, revisions):
        await following(revisions)
        waiting = asyncio.ensure_future(anext(revisions))
        write(tmp_path / "a.yaml", "b: 1")
        source.sync()
        assert (await asyncio.wait_for(waiting, 10)).files == {"a.yaml": b"b: 1"}
        assert not source.is_polling


async def test_without_events_the_slow_look_finds_it_and_turns_to_polling(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Watch, "start", lambda self, loop, directories: "")
    write(tmp_path / "a.yaml")
    async with watching(tmp_path, Timing(relist=0.1, poll=0.05)) as (source, revisions):
        await following(revisions)
        write(tmp_path / "a.yaml", "b: 1")
        assert (await following(revisions)).files == {"a.yaml": b"b: 1"}
        assert source.is_polling


async def test_a_watch_limit_turns_to_polling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Limited:
        def schedule(self, *arguments: object, **options: object) -> None:
            raise OSError(errno.ENOSPC, "inotify watch limit reached")

        def stop(self) -> None:
            raise RuntimeError("was never started")

    monkeypatch.setattr("agent.source.watch.Observer", Limited)
    write(tmp_path / "a.yaml")
    async with watching(tmp_path) as (source, revisions):
        await following(revisions)
        assert source.is_polling
        write(tmp_path / "a.yaml", "b: 1")
        assert (await following(revisions)).files == {"a.yaml": b"b: 1"}


async def test_a_flood_of_events_means_look_at_everything(tmp_path: Path) -> None:
    """What inotify drops after an overflow is found all the same: the flood itself asks for it."""
    woken = asyncio.Event()
    watch = Watch(woken.set, lambda path: path.endswith(".yaml"))
    watch._loop = asyncio.get_running_loop()
    from watchdog.events import DirCreatedEvent, FileClosedEvent

    watch.on_any_event(FileClosedEvent(str(tmp_path / "data.bin")))
    assert not watch.take()
    for _ in range(MANY + 1):
        watch.on_any_event(FileClosedEvent(str(tmp_path / "data.bin")))
    await asyncio.wait_for(woken.wait(), 5)
    assert watch.take().everything
    watch.on_any_event(FileClosedEvent(str(tmp_path / "a.yaml")))
    assert watch.take().paths == {str(tmp_path / "a.yaml")}
    watch.on_any_event(DirCreatedEvent(str(tmp_path / "d")))
    assert watch.take().everything


async def test_the_directory_may_come_later_and_go_and_come_back(tmp_path: Path) -> None:
    place = tmp_path / "later"
    async with watching(place) as (source, revisions):
        waiting = asyncio.ensure_future(anext(revisions))
        await until(lambda: source.status.error)
        assert "cannot open" in source.status.error
        write(place / "a.yaml")
        assert (await asyncio.wait_for(waiting, 10)).files == {"a.yaml": b"a: 1"}
        assert source.status.error == ""

        waiting = asyncio.ensure_future(anext(revisions))
        shutil.move(place, tmp_path / "away")
        source.sync()
        await until(lambda: source.status.error)
        assert source.status.revision, "the last one stays the last one"
        write(place / "b.yaml")
        assert (await asyncio.wait_for(waiting, 10)).files == {"b.yaml": b"a: 1"}
        write(place / "b.yaml", "b: 2")
        assert (await following(revisions)).files == {"b.yaml": b"b: 2"}


async def test_a_slow_writer_is_waited_for(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    async with watching(tmp_path, Timing(settle=0.02, patience=30)) as (source, revisions):
        await following(revisions)
        seen_at = source.status.seen_at
        waiting = asyncio.ensure_future(anext(revisions))
        with (tmp_path / "a.yaml").open("w") as file:
            file.write("half")
            file.flush()
            source.sync()
            await until(lambda: source.status.seen_at > seen_at)
            assert not waiting.done()
            file.write(" and half")
        assert (await asyncio.wait_for(waiting, 10)).files == {"a.yaml": b"half and half"}


async def test_the_first_look_waits_for_a_writer_too(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("w") as file:
        file.write("half")
        file.flush()
        async with watching(tmp_path, Timing(settle=0.02, patience=30)) as (source, revisions):
            waiting = asyncio.ensure_future(anext(revisions))
            await until(lambda: source.status.seen_at)
            assert not waiting.done()
            file.close()
            assert (await asyncio.wait_for(waiting, 10)).files == {"a.yaml": b"half"}


async def test_a_writer_that_never_ends_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with (tmp_path / "a.yaml").open("w") as file:
        file.write("a: 1")
        file.flush()
        async with watching(tmp_path, Timing(settle=0.02, patience=0.1)) as (_, revisions):
            assert (await following(revisions)).files == {"a.yaml": b"a: 1"}


async def test_renames_race_with_looks(tmp_path: Path) -> None:
    """An editor that saves by rename a hundred times: every state seen is a whole one."""
    write(tmp_path / "a.yaml", "0" * 5000)
    async with watching(tmp_path, Timing(settle=0.001)) as (_, revisions):
        await following(revisions)

        async def edit() -> None:
            for number in range(1, 101):
                write(tmp_path / "a.yaml~", str(number % 10) * 5000)
                (tmp_path / "a.yaml~").rename(tmp_path / "a.yaml")
                await asyncio.sleep(0.002)
            write(tmp_path / "last.yaml")

        editing = asyncio.ensure_future(edit())
        async for revision in revisions:
            assert len(set(revision.files["a.yaml"])) == 1
            assert len(revision.files["a.yaml"]) == 5000
            if "last.yaml" in revision.files:
                break
        await editing


# --- hostile trees ----------------------------------------------------------------------------


def outside(root: Path) -> Path:
    secret = root.parent / "secret.yaml"
    secret.write_text("secret: 1")
    return secret


def link(root: Path, name: str, to: str | Path) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).symlink_to(to)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


HOSTILE = {
    "absolute link": lambda root: link(root, "x.yaml", outside(root)),
    "relative link": lambda root: link(root, "x.yaml", "../secret.yaml") or outside(root),
    "link to a directory": lambda root: link(root, "x", "/etc"),
    "link named as a file to a directory": lambda root: link(root, "x.yaml", "/etc"),
    "link to its own directory": lambda root: link(root, "x", "."),
    "link up": lambda root: link(root, "x", ".."),
    "link to itself": lambda root: link(root, "x.yaml", "x.yaml"),
    "two links in a ring": lambda root: (link(root, "x.yaml", "y.yaml"), link(root, "y.yaml", "x.yaml")),
    "link to nowhere": lambda root: link(root, "x.yaml", "gone.yaml"),
    "link to a process's file": lambda root: link(root, "x.yaml", "/proc/self/environ"),
    "link through a magic link": lambda root: link(root, "x.yaml", "/proc/self/root/etc/passwd"),
    "link through a directory link": lambda root: (link(root, "d", "/etc"), link(root, "x.yaml", "d/passwd")),
    "link to a device": lambda root: link(root, "x.yaml", "/dev/zero"),
    "link to a fifo inside": lambda root: (os.mkfifo(root / "fifo"), link(root, "x.yaml", "fifo")),
    "env link": lambda root: link(root, ".env", "/etc/shadow"),
    "fifo": lambda root: os.mkfifo(root / "x.yaml"),
    "fifo as .env": lambda root: os.mkfifo(root / ".env"),
    "socket": lambda root: make_socket(root / "x.yaml"),
    "zero device": lambda root: os.mknod(root / "x.yaml", 0o20666, os.makedev(1, 5)),
    "block device": lambda root: os.mknod(root / "x.yaml", 0o60666, os.makedev(240, 0)),
    "directory named as a file": lambda root: (root / "x.yaml").mkdir(),
    "no rights": lambda root: write(root / "x/y.bin") or (root / "x").chmod(0),
    "dot directory": lambda root: write(root / ".hidden/x.yaml"),
    "git directory": lambda root: write(root / ".git/x.yaml"),
    "dot file": lambda root: write(root / ".x.yaml"),
    "editor's files": lambda root: [
        write(root / name) for name in ("x.yaml~", "#x.yaml#", ".x.yaml.swp", "x.yaml.tmp")
    ],
    "deep": lambda root: write(root / "/".join(["d"] * 60) / "x.yaml"),
    "long name": lambda root: write(root / ("d" * 255) / "x.bin"),
    "data": lambda root: write(root / "data/base.db", "x" * 100_000),
    "no text in a name": lambda root: Path(os.fsdecode(os.fsencode(root) + b"/\xff.bin")).write_text("a"),
    "line break in a name": lambda root: write(root / "a\nb.bin"),
    "many other files": lambda root: [write(root / f"other/{number}.bin") for number in range(500)],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_trees(tmp_path: Path, name: str) -> None:
    """The good file comes through, nothing of the rest does, and nothing hangs."""
    root = tmp_path / "watched"
    write(root / "good/web.yaml")
    HOSTILE[name](root)
    assert read_directory(root).files == {"good/web.yaml": b"a: 1"}


def test_a_link_inside_the_tree_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "real/a.yaml")
    link(tmp_path, "shop/web.yaml", "../real/a.yaml")
    assert read_directory(tmp_path).files == {"real/a.yaml": b"a: 1", "shop/web.yaml": b"a: 1"}


def test_odd_names_come_through(tmp_path: Path) -> None:
    for name in ("a b.yaml", "ä.yaml", "a\nb.yaml", "-x.yaml", "$x.yaml", "%s.yaml"):
        write(tmp_path / name)
    write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.yaml")))
    revision = read_directory(tmp_path)
    assert len(revision.files) == 7
    assert revision.id.startswith("dir-")


def test_a_huge_file_is_cut_to_what_the_reader_refuses(tmp_path: Path) -> None:
    with (tmp_path / "x.yaml").open("wb") as file:
        file.truncate(10 * 1024**3)  # sparse
    assert len(read_directory(tmp_path).files["x.yaml"]) == MAX_FILE_BYTES


def test_too_much_of_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        write(tmp_path / f"{number}.yaml", "x" * 100)
    monkeypatch.setattr(tree, "MAX_FILES", 10)
    with pytest.raises(Unreadable, match="too many files"):
        read_directory(tmp_path)
    monkeypatch.setattr(tree, "MAX_FILES", 100)
    monkeypatch.setattr(tree, "MAX_TOTAL_BYTES", 1000)
    with pytest.raises(Unreadable, match="too large"):
        read_directory(tmp_path)


def test_a_directory_that_is_none(tmp_path: Path) -> None:
    write(tmp_path / "file")
    for path in (tmp_path / "gone", tmp_path / "file"):
        with pytest.raises(Unreadable, match="cannot open"):
            read_directory(path)


async def test_warnings_name_what_was_left_out(tmp_path: Path) -> None:
    write(tmp_path / "a.yaml")
    link(tmp_path, "x.yaml", "/etc/passwd")
    os.mkfifo(tmp_path / "y.yaml")
    async with watching(tmp_path) as (source, revisions):
        await following(revisions)
        assert len(source.status.warnings) == 1
        assert "x.yaml is a link that leads out" in source.status.warnings[0]
        (tmp_path / "x.yaml").unlink()
        write(tmp_path / "b.yaml")
        await following(revisions)
        assert source.status.warnings == ()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.yaml", True),
        ("shop/compose.yml", True),
        ("shop/.env", True),
        ("shop/.env.production", True),
        ("shop/web.env", True),
        ("shop/env", True),
        ("shop/env.list", True),
        ("shop/.a.yaml", False),
        (".git/a.yaml", False),
        ("shop/.x/.env", False),
        ("shop/data.bin", False),
        ("shop/environment.py", False),
        ("a.yaml~", False),
        ("a.yml.swp", False),
    ],
)
def test_what_is_wanted(path: str, expected: bool) -> None:
    assert is_wanted(path) is expected
