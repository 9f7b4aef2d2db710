"""Records to rows and back. Pure; both the writer and the read-only reader go through here.

A row is a mapping from column name to a plain value. SQLite keeps any value in any column, so decoding
looks at each, and raises ValueError, KeyError, IndexError or TypeError on a row that no Setpoint wrote.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

from store.records import Condition, EventRecord, Happening, Key, ObjectRecord, RevisionRecord, StatusRecord

Row = Mapping[str, Any]


def _plain(value: object) -> Any:
    """What JSON has no word for, and records may hold: other mappings, sets."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON data")


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=_plain).encode


BAD_ROW = (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError)


def _text(row: Row, name: str) -> str:
    """Text that UTF-8 has a word for: the lenient reading of bytes that are none leaves surrogates."""
    value = row[name]
    if not isinstance(value, str) or (not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value)):
        raise ValueError(f"{name} is {value!r:.60}")
    return value


def _whole(row: Row, name: str) -> int:
    value = row[name]
    if not isinstance(value, int) or not 0 <= value < 1 << 53:
        raise ValueError(f"{name} is {value!r:.60}")
    return int(value)


def _time(row: Row, name: str) -> float:
    value = row[name]
    if not isinstance(value, int | float) or not abs(value) < 1e15:
        raise ValueError(f"{name} is {value!r:.60}")
    return float(value)


def _flag(row: Row, name: str) -> bool:
    value = row[name]
    if value not in (0, 1):
        raise ValueError(f"{name} is {value!r:.60}")
    return bool(value)


def _key(row: Row) -> Key:
    """Its parts are not empty and have no "/", so that it can be said and read back."""
    key = Key(_text(row, "project"), _text(row, "kind"), _text(row, "name"))
    if not all(key) or any("/" in part or "\0" in part for part in key):
        raise ValueError(f"its name is {str(key)!r:.60}")
    return key


def _decode(text: str, kind: type) -> Any:
    value = [] if text == "[]" else json.loads(text)
    if not isinstance(value, kind):
        raise ValueError(f"expected {kind.__name__}, found {text[:40]!r}")
    return value


def object_row(record: ObjectRecord) -> dict[str, Any]:
    key = record.key
    return {
        "project": key.project,
        "kind": key.kind,
        "name": key.name,
        "owner": record.owner,
        "spec": _encode(record.spec),
        "spec_hash": record.spec_hash,
        "generation": record.generation,
        "observed_generation": record.observed_generation,
        "file": record.file,
        "line": record.line,
        "revision": record.revision,
        "deleting": record.deleting,
        "updated_at": record.updated_at,
    }


def object_record(row: Row) -> ObjectRecord:
    return ObjectRecord(
        key=_key(row),
        owner=_text(row, "owner"),
        spec=_decode(_text(row, "spec"), dict),
        spec_hash=_text(row, "spec_hash"),
        generation=_whole(row, "generation"),
        observed_generation=_whole(row, "observed_generation"),
        file=_text(row, "file"),
        line=_whole(row, "line"),
        revision=_text(row, "revision"),
        deleting=_flag(row, "deleting"),
        updated_at=_time(row, "updated_at"),
    )


def status_row(record: StatusRecord) -> dict[str, Any]:
    key = record.key
    return {
        "project": key.project,
        "kind": key.kind,
        "name": key.name,
        "phase": record.phase,
        "ready": record.ready,
        "since": record.since,
        "restarts": record.restarts,
        "message": record.message,
        "conditions": _encode([(c.type, c.status, c.reason, c.message, c.since) for c in record.conditions]),
        "containers": _encode(record.containers) if record.containers else "[]",
        "memory": _encode(record.memory) if record.memory else "{}",
    }


def status_record(row: Row) -> StatusRecord:
    return StatusRecord(
        key=_key(row),
        phase=_text(row, "phase"),
        ready=_flag(row, "ready"),
        since=_time(row, "since"),
        restarts=_whole(row, "restarts"),
        message=_text(row, "message"),
        conditions=tuple(map(_condition, _decode(_text(row, "conditions"), list))),
        containers=tuple(map(_mapping, _decode(_text(row, "containers"), list))),
        memory=_decode(_text(row, "memory"), dict),
    )


def _condition(fields: Any) -> Condition:
    type, status, reason, message, since = fields
    if not all(isinstance(text, str) for text in (type, status, reason, message)):
        raise ValueError(f"a condition is {fields!r:.60}")
    return Condition(type, status, reason, message, float(since))


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"a container is {value!r:.60}")
    return value


def event_row(record: EventRecord, id: int) -> dict[str, Any]:
    key = record.key
    return {
        "id": id,
        "at": record.at,
        "project": key.project,
        "kind": key.kind,
        "name": key.name,
        "type": record.type,
        "reason": record.reason,
        "message": record.message,
        "revision": record.revision,
        "cause": _encode(record.cause) if record.cause else "[]",
        "happenings": _encode([_fields(each) for each in record.happenings]) if record.happenings else "[]",
    }


def _fields(happening: Happening) -> tuple[object, ...]:
    return happening.type, happening.action, happening.id, happening.attributes


def event_record(row: Row) -> EventRecord:
    return EventRecord(
        at=_time(row, "at"),
        key=_key(row),
        type=_text(row, "type"),
        reason=_text(row, "reason"),
        message=_text(row, "message"),
        revision=_text(row, "revision"),
        cause=tuple(map(str, _decode(_text(row, "cause"), list))),
        id=_whole(row, "id"),
        happenings=tuple(map(_happening, _decode(_happenings(row), list))),
    )


def _happenings(row: Row) -> str:
    """The reader beside no agent may find a database that was not led to this schema yet."""
    try:
        return _text(row, "happenings")
    except (KeyError, IndexError):
        return "[]"


def _happening(fields: Any) -> Happening:
    type, action, id, attributes = fields
    texts = (type, action, id, *attributes, *attributes.values())
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"a happening is {fields!r:.60}")
    return Happening(type, action, id, attributes)


def revision_row(record: RevisionRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "source": record.source,
        "seen_at": record.seen_at,
        "outcome": record.outcome,
        "message": record.message,
        "converged_at": record.converged_at,
        "subject": record.subject,
        "author": record.author,
    }


def revision_record(row: Row) -> RevisionRecord:
    return RevisionRecord(
        id=_text(row, "id"),
        source=_text(row, "source"),
        seen_at=_time(row, "seen_at"),
        outcome=_text(row, "outcome"),
        message=_text(row, "message"),
        converged_at=None if row["converged_at"] is None else _time(row, "converged_at"),
        subject=_text(row, "subject"),
        author=_text(row, "author"),
    )


def scrubbed(row: Row) -> dict[str, Any]:
    """The row with what UTF-8 cannot hold (lone surrogates, from a file's name) written as escapes."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
