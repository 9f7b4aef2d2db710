"""Records to write, and a store in a temporary directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from store.records import (
    Batch,
    Condition,
    EventRecord,
    Happening,
    Key,
    ObjectRecord,
    RevisionRecord,
    StatusRecord,
)
from store.store import Store


def open_below(directory: Path) -> list[Path]:
    """Files that this process has open there."""
    found = []
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.append(descriptor.readlink())
    return [file for file in found if directory in file.parents]


def key(name: str = "web", project: str = "shop") -> Key:
    return Key(project, "container", name)


def an_object(name: str = "web", **changes: object) -> ObjectRecord:
    fields: dict[str, object] = {
        "key": key(name),
        "owner": "git",
        "spec": {"image": "nginx:1.27", "environment": {"A": "ä"}, "command": ["a", "b"]},
        "spec_hash": "f" * 64,
        "generation": 2,
        "observed_generation": 1,
        "file": "shop/compose.yaml",
        "line": 3,
        "revision": "c0ffee",
        "deleting": False,
        "updated_at": 12.5,
    }
    return ObjectRecord(**(fields | changes))  # type: ignore[arg-type]


def a_status(name: str = "web", **changes: object) -> StatusRecord:
    fields: dict[str, object] = {
        "key": key(name),
        "phase": "Running",
        "ready": True,
        "since": 10.0,
        "restarts": 3,
        "message": "",
        "conditions": (Condition("Ready", "True", "Running", "runs", 10.0),),
        "containers": ({"id": "a" * 64, "pid": 4, "addresses": {"default": "10.0.0.2"}},),
        "memory": {"exits": [1.0, 2.0]},
    }
    return StatusRecord(**(fields | changes))  # type: ignore[arg-type]


def an_event(at: float = 1.0, name: str = "web", **changes: object) -> EventRecord:
    fields: dict[str, object] = {
        "at": at,
        "key": key(name),
        "type": "Normal",
        "reason": "Created",
        "message": "made it",
        "revision": "c0ffee",
        "cause": ("commit c0ffee", "shop/compose.yaml:3", "not there"),
        "happenings": (Happening("container", "create", "a" * 64, {"name": name}),),
    }
    return EventRecord(**(fields | changes))  # type: ignore[arg-type]


def a_revision(id: str = "c0ffee", seen_at: float = 1.0, source: str = "dir") -> RevisionRecord:
    return RevisionRecord(id, source, seen_at, "applying")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "setpoint.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


def a_batch(number: int, objects: int = 5) -> Batch:
    """Batch `number`: everything in it carries the number, so that half of one would show."""
    names = [f"web{n}" for n in range(objects)]
    return Batch(
        objects=tuple(an_object(name, revision=str(number)) for name in names),
        statuses=tuple(a_status(name, restarts=number) for name in names),
        events=tuple(an_event(float(number), name, revision=str(number)) for name in names),
        revisions=(a_revision(str(number), float(number)),),
    )
