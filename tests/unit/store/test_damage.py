"""A damaged database is moved aside, never deleted, and a fresh one is begun. A newer one is refused.
Killing the writer at any moment leaves a whole database."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from store import tables
from store.errors import Damaged, TooNew
from store.reader import read_events, read_status
from store.records import Batch
from store.store import Store

from .conftest import a_batch, a_revision, an_object, key, open_below

ROOT = Path(__file__).parents[3]

WRITER = """
import sys
sys.path.insert(0, {root!r})
from tests.unit.store.conftest import a_batch
from store.store import Store
store = Store(sys.argv[1])
number = int(sys.argv[2])
while True:
    store.write(a_batch(number))
    print(number, flush=True)
    number += 1
"""


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("setpoint.db.damaged-*Z"))


def test_what_is_no_database_is_moved_aside(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"this is no database\n" * 500)
    store = Store(path)
    assert [file.read_bytes()[:7] for file in aside(path)] == [b"this is"]
    assert len(store.notes) == 1
    assert str(aside(path)[0]) in store.notes[0]
    store.write(a_batch(1))
    assert len(store.load()[0]) == 5
    store.close()


def test_a_broken_page_is_found_at_opening(path: Path) -> None:
    store = Store(path)
    for number in range(20):
        store.write(a_batch(number, 20))
    store.close()
    content = bytearray(path.read_bytes())
    for offset in range(8192, len(content) - 4096, 4096):
        content[offset : offset + 64] = b"\xff" * 64
    path.write_bytes(content)
    damaged = path.read_bytes()
    store = Store(path)
    assert aside(path)[0].read_bytes() == damaged
    assert store.load() == ({}, {})
    store.close()


def test_a_truncated_file_is_moved_aside(path: Path) -> None:
    store = Store(path)
    store.write(a_batch(1, 100))
    store.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(size // 2 + 100)
    store = Store(path)
    assert len(aside(path)) == 1
    store.close()


def test_a_row_that_no_setpoint_wrote_is_put_aside_alone(path: Path) -> None:
    store = Store(path)
    store.write(Batch(objects=(an_object(), an_object("db"))))
    store.close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE objects SET spec = '{\"image\": ' WHERE name = 'web'")
    raw.close()
    store = Store(path)
    assert store.load() == ({key("db"): an_object("db")}, {})
    assert aside(path) == []
    assert "1 rows of objects cannot be read" in store.notes[0]
    line = json.loads(Path(f"{path}.bad-rows").read_text())
    assert line["table"] == "objects"
    assert "image" in line["row"]["spec"]
    store.write(Batch(objects=(an_object(),)))
    assert store.load()[0] == {key(): an_object(), key("db"): an_object("db")}
    store.close()


GARBAGE = (
    b"\xff\xfe\x00", "x" * 70, "", -1, 1 << 62, 3.5, "[", "[]", "{}", "null", '["a"]', '{"a": [1]}',
    "1" * 5000, "[" * 100_000, "\x00", "../..", float("inf"),
)  # fmt: skip
SOUND = 3


@pytest.mark.parametrize("table", ["objects", "statuses", "events", "revisions"])
def test_garbage_in_any_column_costs_its_row_at_most(path: Path, table: str) -> None:
    """Start is never fatal, the other rows are there, and the next write goes well."""
    count = len(GARBAGE) + SOUND
    batch = a_batch(1, count)
    more = tuple(a_revision(str(number), float(number)) for number in range(2, count + 1))
    store = Store(path)
    store.write(replace(batch, revisions=(*batch.revisions, *more)))
    store.close()
    sound = path.read_bytes()
    put_aside = 0
    for column in [column.name for column in tables.metadata.tables[table].columns]:
        for file in path.parent.iterdir():
            file.unlink()
        path.write_bytes(sound)
        raw = sqlite3.connect(path, isolation_level=None)
        for row, garbage in enumerate(GARBAGE, 1):
            with contextlib.suppress(sqlite3.IntegrityError):  # the database refuses it by itself
                raw.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (garbage, row))
        raw.close()
        assert read_status(path) is not None
        assert len(read_events(path)) >= SOUND
        store = Store(path)
        objects, statuses = store.load()
        assert min(len(objects), len(statuses), len(store.events()), len(store.revisions())) >= SOUND
        put_aside += bool(store.notes)
        store.write(a_batch(2, count))
        assert sum(o.revision == "2" for o in store.load()[0].values()) == count
        assert store.events()[-1].revision == "2"
        assert aside(path) == []
        store.close()
        store = Store(path)
        assert store.notes == () or table in ("events", "revisions")
        store.close()
    assert put_aside > 6


def test_random_flips_never_raise_and_never_lose_the_file(path: Path) -> None:
    """Whatever byte is wrong: it opens (and reads), or is moved aside whole."""
    store = Store(path)
    store.write(a_batch(1, 20))
    store.close()
    sound = path.read_bytes()
    dice = random.Random(7)
    moved = 0
    for _ in range(60):
        content = bytearray(sound)
        for _ in range(8):
            content[dice.randrange(len(content))] = dice.randrange(256)
        path.write_bytes(content)
        try:
            store = Store(path)
        except TooNew:  # the flip was in the version's row
            continue
        store.load()
        store.close()
        if any("moved aside" in note for note in store.notes):
            moved += 1
            assert aside(path)[-1].stat().st_size == len(content)
        for file in path.parent.iterdir():
            file.unlink()
    assert moved > 10


def test_two_damaged_files_in_one_second_are_both_kept(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    for text in (b"one" * 1000, b"two" * 1000):
        path.write_bytes(text)
        Path(f"{path}-wal").unlink(missing_ok=True)
        Store(path).close()
    kept = {
        file.read_bytes()[:3] for file in path.parent.glob("setpoint.db.damaged-*") if file.suffix != "-x"
    }
    assert {b"one", b"two"} <= kept


def test_a_damaged_one_that_could_not_be_written_is_left_with_its_copy(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk at the start, and broken pages, which are met once there is room."""
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"this is no database\n" * 500)
    standin = tmp_path / "memory"
    with monkeypatch.context() as full:
        full.setattr("store.store.is_full", lambda directory: directory == path.parent)
        store = Store(path, standin=standin)
        assert store.is_standin
        assert open_below(standin)
    with pytest.raises(Damaged):
        store.write(a_batch(1))
    assert not store.is_standin
    assert open_below(standin) == list(standin.iterdir()) == []
    assert [file.read_bytes()[:7] for file in aside(path)] == [b"this is"]
    store.write(a_batch(1))
    assert len(store.load()[0]) == 5
    store.close()
    assert open_below(tmp_path) == []


def test_a_newer_schema_is_refused_and_left_alone(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(TooNew, match=r"version '9999'.*knows up to .*hint"):
        Store(path)
    assert path.read_bytes() == before
    assert aside(path) == []


def test_kill_9_in_the_middle_of_writes_leaves_a_whole_database(path: Path) -> None:
    dice = random.Random(3)
    number = 1
    for _ in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER.format(root=str(ROOT)), str(path), str(number)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(dice.randrange(1, 60)):
            acknowledged = int(writer.stdout.readline())
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read().split("\n")
        writer.stdout.close()
        assert writer.wait() == -signal.SIGKILL
        acknowledged = max([acknowledged, *(int(line) for line in rest[:-1])])

        seen = read_status(path)
        assert seen is not None
        store = Store(path)
        assert store.notes == ()
        objects, statuses = store.load()
        written = {int(o.revision) for o in objects.values()}
        assert len(written) == 1  # one batch, whole
        last = written.pop()
        assert last >= acknowledged  # what was acknowledged is there
        assert {s.restarts for s in statuses.values()} == {last}
        assert store.last_event_id == 5 * last
        assert {o.revision for o in seen.objects.values()} == {str(last)}
        store.close()
        number = last + 1
