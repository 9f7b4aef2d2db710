"""Read a store without being its writer: for `status` while the agent is down, and beside a running
agent. The standard library's sqlite3 in read-only mode, since importing SQLAlchemy would cost more
than all the rest of a `status`.

Changes nothing on disk, takes no lock that a writer waits for.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from store import rows
from store.errors import Damaged, StoreError, Unavailable
from store.records import EventRecord, Key, ObjectRecord, RevisionRecord, StatusRecord
from store.standin import copy_database, is_full

_MEMORY = "/dev/shm"  # noqa: S108  a directory of a name that nobody can guess is made in it
Record = TypeVar("Record")


class Snapshot(NamedTuple):
    """What the store last knew, read in one transaction. revisions: newest first, at most 20."""

    objects: dict[Key, ObjectRecord]
    statuses: dict[Key, StatusRecord]
    revisions: tuple[RevisionRecord, ...]


def read_status(path: str | Path) -> Snapshot | None:
    """The last known state, or None when there is no database yet. Raises StoreError."""
    connection = _connect(path)
    if connection is None:
        return None
    try:
        objects = _sound(rows.object_record, connection.execute("SELECT * FROM objects"))
        statuses = _sound(rows.status_record, connection.execute("SELECT * FROM statuses"))
        found = connection.execute("SELECT * FROM revisions ORDER BY seen_at DESC LIMIT 20")
        revisions = tuple(_sound(rows.revision_record, found))
    except sqlite3.Error as error:
        raise _explain(path, error) from error
    finally:
        connection.close()
    return Snapshot({o.key: o for o in objects}, {s.key: s for s in statuses}, revisions)


def read_events(path: str | Path, key: Key | None = None, limit: int = 100) -> tuple[EventRecord, ...]:
    """The last events, oldest first, of one object or of all; () when there is no database yet."""
    connection = _connect(path)
    if connection is None:
        return ()
    where, arguments = "", []
    if key is not None:
        where, arguments = "WHERE project = ? AND kind = ? AND name = ?", list(key)
    query = f"SELECT * FROM events {where} ORDER BY id DESC LIMIT ?"
    try:
        found = _sound(rows.event_record, connection.execute(query, [*arguments, limit]))
    except sqlite3.Error as error:
        raise _explain(path, error) from error
    finally:
        connection.close()
    return tuple(reversed(found))


def _sound(decode: Callable[[Any], Record], found: Iterable[Any]) -> list[Record]:
    """The rows that can be read: the agent puts the others aside when it starts."""
    good = []
    for row in found:
        with contextlib.suppress(*rows.BAD_ROW):
            good.append(decode(row))
    return good


def _connect(path: str | Path) -> sqlite3.Connection | None:
    """A read-only connection inside a transaction. Without a -wal (closed cleanly) the file is whole
    by itself, and `immutable` spares a -shm that a read-only file system could not hold."""
    path = Path(path)
    try:
        if not path.stat().st_size:
            return None
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable("read", str(path), error.strerror or str(error)) from error
    has_wal = Path(f"{path}-wal").exists()
    try:
        if has_wal and is_full(path.parent):
            import tempfile  # late: a `status` pays for it on a full disk alone

            with tempfile.TemporaryDirectory(dir=_MEMORY) as directory:
                return _begun(copy_database(path, Path(directory)), "")
        return _begun(path, "" if has_wal else "&immutable=1")
    except sqlite3.Error as error:
        raise _explain(path, error) from error
    except OSError as error:
        raise Unavailable("read", str(path), error.strerror or str(error)) from error


def _begun(path: Path, immutable: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        f"file:{quote(str(path))}?mode=ro{immutable}", uri=True, timeout=2.0, isolation_level=None
    )
    connection.row_factory = sqlite3.Row
    connection.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()  # all its files are open from here on
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _explain(path: str | Path, error: sqlite3.Error) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # 0: text that is not UTF-8
    damage = (0, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT)
    if code in damage:
        hint = "an agent that starts moves it aside, and finds again what runs"
        return Damaged("read", str(path), str(error), hint)
    return Unavailable("read", str(path), str(error))
