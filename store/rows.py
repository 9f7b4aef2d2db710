"""Records to rows and back. Pure; both the writer and the read-only reader go through here.

A row is a mapping from column name to a plain value. Decoding raises ValueError, KeyError or
TypeError on a row that no Setpoint wrote: the caller calls that damage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from typing import Any

from store.records import Condition, EventRecord, Key, ObjectRecord, RevisionRecord, StatusRecord

Row = Mapping[str, Any]


def _plain(value: object) -> Any:
    """What JSON has no word for, and records may hold: other mappings, sets."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is not JSON data")


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False, default=_plain).encode


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
        key=Key(row["project"], row["kind"], row["name"]),
        owner=row["owner"],
        spec=_decode(row["spec"], dict),
        spec_hash=row["spec_hash"],
        generation=row["generation"],
        observed_generation=row["observed_generation"],
        file=row["file"],
        line=row["line"],
        revision=row["revision"],
        deleting=bool(row["deleting"]),
        updated_at=row["updated_at"],
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
        key=Key(row["project"], row["kind"], row["name"]),
        phase=row["phase"],
        ready=bool(row["ready"]),
        since=row["since"],
        restarts=row["restarts"],
        message=row["message"],
        conditions=tuple(Condition(*fields) for fields in _decode(row["conditions"], list)),
        containers=tuple(_decode(row["containers"], list)),
        memory=_decode(row["memory"], dict),
    )


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
    }


def event_record(row: Row) -> EventRecord:
    return EventRecord(
        at=row["at"],
        key=Key(row["project"], row["kind"], row["name"]),
        type=row["type"],
        reason=row["reason"],
        message=row["message"],
        revision=row["revision"],
        cause=tuple(_decode(row["cause"], list)),
        id=row["id"],
    )


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
        id=row["id"],
        source=row["source"],
        seen_at=row["seen_at"],
        outcome=row["outcome"],
        message=row["message"],
        converged_at=row["converged_at"],
        subject=row["subject"],
        author=row["author"],
    )


def scrubbed(row: Row) -> dict[str, Any]:
    """The row with what UTF-8 cannot hold (lone surrogates, from a file's name) written as escapes."""
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
