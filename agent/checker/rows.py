"""What the database says is wanted, and what the agent last said of it. Only reads, also beside an agent."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtime.layout import Layout
from store.errors import StoreError
from store.reader import read_status
from store.records import Key, ObjectRecord, StatusRecord

if TYPE_CHECKING:
    from agent.reconcile.world import Desired


@dataclass(frozen=True, slots=True)
class Rows:
    """is_there: there is a database that can be read; else nothing is known of what is wanted. damage: why it
    cannot be read."""

    objects: Mapping[Key, ObjectRecord] = field(default_factory=dict)
    statuses: Mapping[Key, StatusRecord] = field(default_factory=dict)
    is_there: bool = False
    damage: str = ""


def read_rows(layout: Layout) -> Rows:
    try:
        found = read_status(layout.database)
    except StoreError as error:
        return Rows(damage=f"{error.reason}")
    if found is None:
        return Rows()
    return Rows(found.objects, found.statuses, is_there=True)


def is_left_alone(status: StatusRecord) -> bool:
    """Suspended, or in somebody's own hands for a while."""
    return bool(status.memory.get("is_suspended") or status.memory.get("override"))


def desired_of(record: ObjectRecord) -> Desired | None:
    """What planning makes of a row; None when this version cannot read its spec."""
    spec = json.dumps(record.spec, sort_keys=True, default=str)
    return _desired(record.key, record.spec_hash, spec)


@functools.lru_cache(maxsize=4096)
def _desired(key: Key, spec_hash: str, spec: str) -> Desired | None:
    from agent.reconcile import inventory, world  # late: the schemas take 0.2 s to import

    record = ObjectRecord(key, "", json.loads(spec), spec_hash, 1, 1, "", 0, "")
    found = inventory.spec_of(record)
    return None if found is None else world.desired_of(record, found)
