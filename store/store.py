"""The store: one SQLite file, one writer, one transaction a pass. The reconcile loop writes, it and
the API read. It is memory and never truth: a damaged file is moved aside and a fresh one begun,
since the agent re-adopts what runs from the bundles' labels.

May be called from any thread (one lock). Never holds a transaction open between two calls.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.pool import StaticPool

from store import image_tables, rows, tables
from store.errors import Damaged, StoreError, TooNew, Unavailable
from store.event_caps import EventCaps
from store.image_memory import ImageMemory
from store.records import Batch, EventRecord, Key, ObjectRecord, RevisionRecord, StatusRecord
from store.standin import copy_database, is_full, remove_copy
from store.write_ahead import make_room

BUSY_TIMEOUT_SECONDS = 5.0
KEEP_REVISIONS = 1000
MAX_EVENT_ID = 1 << 53  # what JSON's readers can still tell apart
MAX_NOTES = 20
# What a commit waits for, and what it does not where `write_at_once` makes it (`_prepare`). FULL: with NORMAL
# a power cut may take back commits that were already acted upon, unless the log is synced behind them.
PATIENT = (
    "synchronous = FULL",
    f"busy_timeout = {BUSY_TIMEOUT_SECONDS * 1000:.0f}",
    "wal_autocheckpoint = 700",
)
AT_ONCE = ("synchronous = NORMAL", "busy_timeout = 0", "wal_autocheckpoint = 0")
MOST_ROWS_AT_ONCE = 32
MOST_AT_ONCE = 64  # commits in a row, of some five pages each
MOST_HISTORY_AT_ONCE = 32
Listener = Callable[[tuple[EventRecord, ...]], None]


class Store:
    """All that Setpoint remembers.

    path_or_url: a database file's path (made 0600, its directory 0700), or an SQLAlchemy URL.
    notes: sentences about what was done at opening (a damaged file moved aside); say them in an event.
    last_event_id: the id of the newest event, 0 when there is none; a follower compares it.

    standin: a directory in memory. A file that cannot be written is read from a copy there, `write` raises
    Unavailable, and each write first tries to return to the file (is_standin tells).

    Raises TooNew, Unavailable; StoreError for what else keeps the file from being opened.
    """

    _engine: sa.Engine
    _connection: sa.Connection

    def __init__(
        self,
        path_or_url: str | Path,
        *,
        caps: EventCaps | None = None,
        standin: Path | None = None,
    ) -> None:
        self._name = str(path_or_url)
        self._path = None if "://" in self._name else Path(path_or_url)
        self._caps = caps or EventCaps()
        self._lock = threading.Lock()
        self._standin: Path | None = None
        self.notes: tuple[str, ...] = ()
        self.last_event_id = 0
        self._statements: dict[str, Any] = {}
        self._listeners: tuple[Listener, ...] = ()
        self._at_once = 0  # commits since the log was looked after
        self._is_patient = False  # it may be, by the last one
        try:
            self._open_or_begin_afresh()
        except TooNew:
            raise
        except StoreError as error:
            if standin is None or self._path is None:
                raise
            self._open_standin(self._path, standin, error)

    @property
    def is_standin(self) -> bool:
        """The file cannot be written: what was remembered is read from a copy."""
        return self._standin is not None

    # --- opening and closing ------------------------------------------------------------------

    def _open_or_begin_afresh(self) -> None:
        try:
            self._open(self._path)
        except Damaged as error:
            self._begin_afresh(error)

    def _open_standin(self, path: Path, directory: Path, error: StoreError) -> None:
        try:
            copy = copy_database(path, directory)
        except OSError:
            raise error from None
        try:
            self._open(copy)
        except Damaged:  # moved aside when the file can be written
            remove_copy(copy)
            self._open(copy)
        with self._connection.begin():
            self._connection.exec_driver_sql("PRAGMA query_only = ON")
        self._standin = copy

    def _return_to_file(self) -> None:
        """From the copy, which nobody wrote to. The lock is held. StoreError, and then the copy stays."""
        if self._standin is None:
            return
        engine, connection = self._engine, self._connection
        try:
            self._open(self._path)
        except Damaged:
            self._leave_standin(engine, connection, self._standin)
            raise
        except StoreError:
            self._engine, self._connection = engine, connection
            raise
        self._leave_standin(engine, connection, self._standin)

    def _leave_standin(self, engine: sa.Engine, connection: sa.Connection, copy: Path) -> None:
        self._standin = None
        connection.close()
        engine.dispose()
        remove_copy(copy)

    def _open(self, path: Path | None) -> None:
        self._caps.forget()
        url = self._name
        if path is not None:
            _make_file(path)
            url = f"sqlite:///{path}"
        options: dict[str, Any] = {}
        if url.startswith("sqlite"):
            options = {
                "poolclass": StaticPool,
                "connect_args": {
                    "check_same_thread": False,
                    "timeout": BUSY_TIMEOUT_SECONDS,
                    "isolation_level": None,  # BEGIN is ours, see _prepare
                },
            }
        self._engine = sa.create_engine(url, **options)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare)
            sa.event.listen(self._engine, "begin", _begin)
        try:
            with self._errors("open"):
                self._connection = self._engine.connect()
                _set(self._connection, PATIENT)
                self._check()
                self._to_head()
                self._read_last_event_id()
                _set(self._connection, AT_ONCE)
            if path is not None and path == self._path:
                make_room(Path(f"{path}-wal"))
        except BaseException:
            self._engine.dispose()
            raise

    def _check(self) -> None:
        """Damaged unless the whole file is a sound database."""
        if self._engine.dialect.name != "sqlite":
            return
        with self._connection.begin():
            finding = self._connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
        if finding != "ok":
            raise Damaged("open", self._name, str(finding))

    def _to_head(self) -> None:
        """Bring the schema to head. Alembic is only imported for a database of an older Setpoint."""
        with self._connection.begin():
            has_schema = sa.inspect(self._connection).has_table("alembic_version")
            version = None
            if has_schema:
                version = self._connection.execute(sa.select(tables.alembic_version.c.version_num)).scalar()
            if version is None:  # also what a crash left before the first commit
                tables.metadata.create_all(self._connection)
                self._connection.execute(sa.insert(tables.alembic_version), [{"version_num": tables.HEAD}])
                return
        if version == tables.HEAD:
            return
        if not re.fullmatch(r"\d{4}", version):
            raise Damaged("open", self._name, f"its schema version reads {version!r}")
        if version not in tables.REVISIONS:
            raise TooNew(
                "open",
                self._name,
                f"its schema is version {version!r}, this Setpoint knows up to {tables.HEAD}",
                "use the newer Setpoint that wrote it, or move the file aside to start afresh",
            )
        from store.migrate import upgrade

        upgrade(self._connection)

    def _read_last_event_id(self) -> None:
        with self._connection.begin():
            newest = self._connection.execute(sa.select(sa.func.max(tables.events.c.id))).scalar()
            if newest is not None and newest >= MAX_EVENT_ID:  # damage: no event could follow it
                self._connection.execute(sa.delete(tables.events).where(tables.events.c.id >= MAX_EVENT_ID))
                self._note(f"an event had the number {newest} and was removed")
                newest = self._connection.execute(sa.select(sa.func.max(tables.events.c.id))).scalar()
        self.last_event_id = max(newest or 0, 0)

    def _begin_afresh(self, error: Damaged) -> None:
        """Move the damaged file aside, never delete it, and open a fresh one in its place. Events go on
        being numbered where they were, for those who follow them."""
        if self._path is None:
            raise error
        last = self.last_event_id
        try:
            aside = quarantine(self._path)
        except OSError as why:
            raise Unavailable(
                "open", self._name, f"{error.reason}, and it cannot be moved aside: {why}"
            ) from why
        note = f"database was damaged ({error.reason}); moved aside to {aside}, began a fresh one"
        self.notes = (*self.notes, note)
        self._open(self._path)
        self.last_event_id = max(last, self.last_event_id)

    def close(self) -> None:
        """Close the file; a clean close leaves no -wal behind. Closing twice does nothing."""
        with self._lock:
            for end in (self._connection.close, self._engine.dispose):
                with contextlib.suppress(sa.exc.SQLAlchemyError):
                    end()

    # --- reading ------------------------------------------------------------------------------

    def load(self) -> tuple[dict[Key, ObjectRecord], dict[Key, StatusRecord]]:
        """All objects and statuses. A row that no Setpoint wrote is put aside, and the others are the
        answer; a file whose pages are broken is moved aside as at opening, and the answer is empty."""
        try:
            with self._lock:
                objects = self._sound_rows(tables.objects, rows.object_record)
                statuses = self._sound_rows(tables.statuses, rows.status_record)
        except Damaged as error:
            with self._lock:
                self._engine.dispose()
                self._begin_afresh(error)
            return {}, {}
        return {o.key: o for o in objects}, {s.key: s for s in statuses}

    def events(
        self,
        key: Key | None = None,
        project: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
        after_id: int | None = None,
        *,
        only_happenings: bool = False,
    ) -> tuple[EventRecord, ...]:
        """Events in the order they were written. With after_id the first `limit` after it (to follow),
        else the last `limit`. since and until are inclusive Unix seconds. only_happenings: those that other
        programs have a word for."""
        table = tables.events
        query = sa.select(table).limit(limit)
        if key is not None:
            query = query.where(table.c.project == key.project, table.c.kind == key.kind)
            query = query.where(table.c.name == key.name)
        if project is not None:
            query = query.where(table.c.project == project)
        if only_happenings:
            query = query.where(table.c.happenings != "[]")
        if since is not None:
            query = query.where(table.c.at >= since)
        if until is not None:
            query = query.where(table.c.at <= until)
        if after_id is not None:
            query = query.where(table.c.id > after_id).order_by(table.c.id)
        else:
            query = query.order_by(table.c.id.desc())
        with self._lock, self._errors("read"), self._connection.begin():
            found = self._records(query, rows.event_record)
        return tuple(found) if after_id is not None else tuple(reversed(found))

    def revisions(self, limit: int = 20) -> tuple[RevisionRecord, ...]:
        """The last seen revisions of all sources, newest first."""
        table = tables.revisions
        query = sa.select(table).order_by(table.c.seen_at.desc()).limit(limit)
        with self._lock, self._errors("read"), self._connection.begin():
            return tuple(self._records(query, rows.revision_record))

    def last_revision(self, source: str) -> RevisionRecord | None:
        """The newest revision seen of one source, whatever became of it."""
        table = tables.revisions
        query = sa.select(table).where(table.c.source == source).order_by(table.c.seen_at.desc()).limit(1)
        with self._lock, self._errors("read"), self._connection.begin():
            found = self._records(query, rows.revision_record)
        return found[0] if found else None

    def images(self) -> ImageMemory:
        """All that is remembered of images."""
        with self._lock, self._errors("read"), self._connection.begin():
            return image_tables.read(self._records)

    def _records(self, query: sa.Select[Any], decode: Any) -> list[Any]:
        """What a query finds; a row that no Setpoint wrote is left out, and said once."""
        try:
            found = self._connection.execute(query).mappings().all()
        except sa.exc.OperationalError as error:
            if "Could not decode" not in str(error.orig):
                raise
            with self._any_text():
                found = self._connection.execute(query).mappings().all()
        good = []
        for row in found:
            try:
                good.append(decode(row))
            except rows.BAD_ROW as error:
                self._note(f"rows of the history that cannot be read are left out: {error}")
        return good

    def _sound_rows(self, table: sa.Table, decode: Any) -> list[Any]:
        """All rows of a table that can be read; the others are put aside. The lock is held."""
        if self._engine.dialect.name != "sqlite":  # it keeps to its columns' types
            with self._errors("read"), self._connection.begin():
                return self._records(sa.select(table), decode)
        good, bad = [], []
        with self._errors("read"), self._any_text(), self._connection.begin():
            # By the driver: no type of SQLAlchemy's may look at a value before it is known to be one.
            query = f"SELECT rowid AS rowid_, * FROM {table.name}"
            for row in self._connection.exec_driver_sql(query).mappings():
                try:
                    good.append(decode(row))
                except rows.BAD_ROW as error:
                    bad.append((dict(row), str(error)))
        if bad:
            self._put_aside(table, bad)
        return good

    def _put_aside(self, table: sa.Table, bad: Sequence[tuple[dict[str, Any], str]]) -> None:
        """Rows that cannot be read, into a file beside the database, and out of the table."""
        aside = f"{self._name}.bad-rows"
        self._note(f"{len(bad)} rows of {table.name} cannot be read ({bad[0][1]}); put aside in {aside}")
        try:
            if self._path is not None:
                append_lines(Path(aside), [_as_line(table.name, row, why) for row, why in bad])
            with self._errors("write"), self._connection.begin():
                for row, _why in bad:
                    self._connection.exec_driver_sql(
                        f"DELETE FROM {table.name} WHERE rowid = ?", (row["rowid_"],)
                    )
        except (OSError, StoreError) as error:  # a full disk: they are passed over all the same
            self._note(f"and they stay in the database: {error}")

    def _note(self, text: str) -> None:
        if text not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes = (*self.notes, text)

    @contextlib.contextmanager
    def _any_text(self) -> Iterator[None]:
        """Read text that is not UTF-8 without an error: `rows` refuses what comes of it. The lock is held."""
        raw: Any = self._connection.connection.dbapi_connection
        if self._engine.dialect.name != "sqlite":
            yield
            return
        raw.text_factory = _lenient
        try:
            yield
        finally:
            raw.text_factory = str

    # --- writing ------------------------------------------------------------------------------

    def write(self, batch: Batch, *, is_synced: bool = True) -> None:
        """Write all of a batch, or on any error nothing of it. Durable when it returns. Unless is_synced, no
        end of this process takes it back, and no power cut once `sync` has returned, or the next write.

        A key that is both removed and written in one batch is written. Raises Unavailable (full
        disk, I/O error, locked; try again later) and StoreError. Damaged: the file is moved aside and a
        fresh, empty one is there; write all that is known, not this batch alone.
        """
        if not batch:
            return
        with self._lock:
            try:
                self._return_to_file()
                with self._patiently(PATIENT if is_synced else PATIENT[1:]):
                    written = self._write_once(batch)
            except Damaged as error:
                self._engine.dispose()
                self._begin_afresh(error)
                raise
            self._at_once *= not self._is_patient  # two in a row, and that many begin anew
            self._is_patient = not self._is_patient
        self._tell(written)

    def write_at_once(self, batch: Batch) -> bool:
        """Write a batch as if not synced, in the time that its pages take in memory: for who must not wait.
        False, and then nothing is written, where it would wait for another call here, another process or the
        disk; where it fails, too: `write` says why.

        Now and then it is `write`'s turn, twice: to bring the log into the database, and to begin it anew,
        for both of which SQLite waits for the disk."""
        most = MOST_HISTORY_AT_ONCE if batch.is_history else MOST_AT_ONCE
        is_turn = self._at_once >= most or self._is_patient
        if is_turn or self._engine.dialect.name != "sqlite" or batch.rows > MOST_ROWS_AT_ONCE:
            return False
        if not self._lock.acquire(blocking=False):
            return False
        try:
            if self._standin is not None or self._caps.is_due_after(len(batch.events)):
                return False
            written = self._write_once(batch)
            self._at_once += 1
        except StoreError:
            return False
        finally:
            self._lock.release()
        self._tell(written)
        return True

    def _tell(self, written: Sequence[Mapping[str, Any]]) -> None:
        if written and (listeners := self._listeners):
            told = tuple(map(rows.event_record, written))
            for listener in listeners:
                listener(told)

    @contextlib.contextmanager
    def _patiently(self, pragmas: Sequence[str]) -> Iterator[None]:
        """Commits that may wait. The lock is held."""
        with self._errors("write"):
            try:
                _set(self._connection, pragmas)
            except sqlite3.ProgrammingError:  # it was closed: the next write connects anew
                self._connection.invalidate()
                raise
        try:
            yield
        finally:
            with contextlib.suppress(sqlite3.Error, sa.exc.SQLAlchemyError):  # the next one begins so
                _set(self._connection, AT_ONCE)

    def sync(self) -> None:
        """What was written is on the disk when this returns. Holds up no writer. StoreError."""
        with self._errors("sync"):
            if (descriptor := self.open_log()) is not None:
                try:
                    os.fdatasync(descriptor)
                finally:
                    os.close(descriptor)

    def open_log(self) -> int | None:
        """A descriptor of the file that `sync` brings to the disk, the caller's now, for who has that done.
        None where there is none: what was written is on the disk. OSError."""
        if self._path is None:
            return None
        try:
            return os.open(f"{self._path}-wal", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:  # it is in the database itself
            return None

    def free_cache(self) -> None:
        """Let go of the pages of the file that are kept to be read again, up to 2 MB (`_prepare`)."""
        if self._engine.dialect.name != "sqlite":
            return
        closed = contextlib.suppress(StoreError, sa.exc.ResourceClosedError)
        with closed, self._lock, self._errors("free"), self._connection.begin():
            self._connection.exec_driver_sql("PRAGMA shrink_memory")

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call listener(events) after each commit that has some, with them as they are stored, in the
        writer's thread: it must return at once and not raise. Returns what ends it."""
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(other for other in self._listeners if other is not listener)

        return unsubscribe

    def _write_once(self, batch: Batch) -> list[dict[str, Any]]:
        with self._errors("write"):
            try:
                return self._write(batch, _as_it_is)
            except UnicodeEncodeError:
                self._caps.forget()
                return self._write(batch, rows.scrubbed)
            except BaseException:
                self._caps.forget()
                raise

    def _write(self, batch: Batch, scrub: Any) -> list[dict[str, Any]]:
        """The rows of its events."""
        last = self.last_event_id
        with self._connection.begin():
            self._delete(batch.removed)
            self._upsert(tables.objects, [scrub(rows.object_row(r)) for r in batch.objects])
            self._upsert(tables.statuses, [scrub(rows.status_row(r)) for r in batch.statuses])
            self._upsert(tables.revisions, [scrub(rows.revision_row(r)) for r in batch.revisions])
            if batch.images_forgotten:
                image_tables.delete(self._connection, batch.images_forgotten)
            if batch.images:
                for table, values in image_tables.rows_of(batch.images):
                    self._upsert(table, [scrub(value) for value in values])
            numbered = []
            for record in batch.events:
                last = max(last + 1, record.id)
                numbered.append(scrub(rows.event_row(record, last)))
            if numbered:
                self._execute("event", lambda: _INSERT_EVENT, numbered)
            self._caps.written(record.reason for record in batch.events)
            if self._caps.trim(self._connection, last):
                self._trim_revisions()
        self.last_event_id = last
        return numbered

    def _delete(self, keys: Sequence[Key]) -> None:
        if not keys:
            return
        parameters = [{"p": key.project, "k": key.kind, "n": key.name} for key in keys]
        self._execute("delete object", lambda: _DELETE_OBJECT, parameters)
        self._execute("delete status", lambda: _DELETE_STATUS, parameters)

    def _upsert(self, table: sa.Table, values: Sequence[Mapping[str, Any]]) -> None:
        if values:
            self._execute(table.name, lambda: upsert(table, self._engine.dialect.name), values)

    def _execute(self, name: str, make: Callable[[], Any], values: Sequence[Mapping[str, Any]]) -> None:
        """One statement for each of the values. SQLite's is written once, and handed to its driver: all its
        values are what the driver takes, and SQLAlchemy's look at each is half of the time."""
        known = self._statements.get(name)
        if known is None:
            known = self._statements[name] = _written(make(), self._engine.dialect, values[0])
        statement, text, names = known
        if not text:
            self._connection.execute(statement, list(values))
            return
        cursor = _raw(self._connection).executemany(
            text, [[value[name] for name in names] for value in values]
        )
        cursor.close()

    def _trim_revisions(self) -> None:
        seen = tables.revisions.c.seen_at
        last_kept = sa.select(seen).order_by(seen.desc()).offset(KEEP_REVISIONS).limit(1).scalar_subquery()
        self._connection.execute(sa.delete(tables.revisions).where(seen <= last_kept))

    @contextlib.contextmanager
    def _errors(self, op: str) -> Iterator[None]:
        """Database errors become the store's own; the transaction is already rolled back."""
        try:
            yield
        except sa.exc.DBAPIError as error:
            raise _explain(op, self._name, error.orig) from error
        except UnicodeDecodeError as error:  # SQLite quotes a broken schema in its own message
            raise Damaged(op, self._name, f"its schema cannot be read: {error}") from error
        except (sqlite3.Error, OSError) as error:
            raise _explain(op, self._name, error) from error


_DELETE_OBJECT = sa.delete(tables.objects).where(
    tables.objects.c.project == sa.bindparam("p"),
    tables.objects.c.kind == sa.bindparam("k"),
    tables.objects.c.name == sa.bindparam("n"),
)
_DELETE_STATUS = sa.delete(tables.statuses).where(
    tables.statuses.c.project == sa.bindparam("p"),
    tables.statuses.c.kind == sa.bindparam("k"),
    tables.statuses.c.name == sa.bindparam("n"),
)
_INSERT_EVENT = sa.insert(tables.events)


def upsert(table: sa.Table, dialect: str) -> Any:
    """`INSERT … ON CONFLICT (primary key) DO UPDATE` of every other column."""
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql  # two megabytes that SQLite has no use for

        insert: Any = postgresql.insert(table)
    else:
        insert = sqlite.insert(table)
    changed = {c.name: insert.excluded[c.name] for c in table.columns if not c.primary_key}
    return insert.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed)


def _written(statement: Any, dialect: sa.Dialect, value: Mapping[str, Any]) -> tuple[Any, str, list[str]]:
    """A statement, its text for SQLite's driver, and whose values it takes in which order."""
    if dialect.name != "sqlite":
        return statement, "", []
    compiled = statement.compile(dialect=dialect, column_keys=list(value))
    return statement, str(compiled), list(compiled.positiontup or ())


def _lenient(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _as_line(table: str, row: Mapping[str, Any], why: str) -> str:
    values = {name: value if isinstance(value, int | float) else repr(value) for name, value in row.items()}
    return json.dumps({"table": table, "why": why, "row": values})


def append_lines(path: Path, lines: Sequence[str]) -> None:
    """To a file of root's alone. OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
        file.writelines(f"{line}\n" for line in lines)


def quarantine(path: Path) -> Path:
    """Move a database and its -wal and -shm aside; returns the new path. Overwrites nothing."""
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    aside = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
    for suffix in ("", "-wal", "-shm", "-journal"):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")  # noqa: PTH104
    return aside


def _as_it_is(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return row


def _make_file(path: Path) -> None:
    """An empty file, 0600 from its first moment: SQLite gives -wal and -shm the same mode."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        if is_full(path.parent):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        reason = error.strerror or str(error)
        if error.errno in _DISK:
            raise Unavailable("open", str(path), reason, "look at the disk and the kernel's log") from error
        raise StoreError("open", str(path), reason, "the directory must be writable by root") from error


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    """As a connection is left, whoever made it: `write` commits as it has to."""
    for pragma in (
        "journal_mode = WAL",
        *AT_ONCE,
        "foreign_keys = ON",
        "cache_size = -2048",
        "journal_size_limit = 4194304",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin(connection: sa.Connection) -> None:
    """By SQLAlchemy, which connects anew where the connection was closed."""
    connection.exec_driver_sql("BEGIN")


def _set(connection: sa.Connection, pragmas: Sequence[str]) -> None:
    if connection.dialect.name == "sqlite":
        raw = _raw(connection)
        for pragma in pragmas:
            raw.execute(f"PRAGMA {pragma}").close()


def _raw(connection: sa.Connection) -> Any:
    """The driver's own, past SQLAlchemy, which takes longer for a statement than SQLite does."""
    return connection.connection.dbapi_connection


_DISK = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})
_UNAVAILABLE: Mapping[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: ("no space left on device", "free some space"),
    sqlite3.SQLITE_IOERR: ("input/output error", "look at the disk and the kernel's log"),
    sqlite3.SQLITE_BUSY: ("locked by another process", "find it with: fuser FILE"),
    sqlite3.SQLITE_LOCKED: ("locked", ""),
    sqlite3.SQLITE_READONLY: ("the file system is read-only", "mount it read-write"),
    sqlite3.SQLITE_CANTOPEN: ("cannot be opened", "is its directory there and writable?"),
    sqlite3.SQLITE_NOMEM: ("out of memory", ""),
}


def _explain(op: str, path: str, error: BaseException | None) -> StoreError:
    """The store's error for a driver's. Extended result codes keep the plain one in the low byte."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        broken = "Could not decode" in str(error)  # sqlite3 on text that is not UTF-8: no code
        return (Damaged if broken else StoreError)(op, path, str(error))
    plain = code & 0xFF
    # Our own queries are right, so a read that meets no such table or column met a broken schema.
    if plain in _DAMAGED or (plain == sqlite3.SQLITE_ERROR and op == "read"):
        return Damaged(op, path, str(error))
    if plain in _UNAVAILABLE:
        reason, hint = _UNAVAILABLE[plain]
        return Unavailable(op, path, reason, hint)
    return StoreError(op, path, str(error))
