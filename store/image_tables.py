"""What is remembered of images, into its tables and out of them. Called by `store`, in its transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from store import image_memory, tables
from store.image_memory import ImageMemory

_Find = Callable[[sa.Select[Any], Any], list[Any]]


def read(find: _Find) -> ImageMemory:
    """find(query, decode): the rows that can be read, as records."""
    return ImageMemory(
        leases=tuple(find(sa.select(tables.leases), image_memory.lease_record)),
        good=tuple(find(sa.select(tables.good_images), image_memory.good_record)),
        images=tuple(find(sa.select(tables.images), image_memory.image_record)),
        tags=tuple(find(sa.select(tables.tags), image_memory.tag_record)),
    )


def rows_of(memory: ImageMemory) -> Iterator[tuple[sa.Table, list[dict[str, Any]]]]:
    yield tables.leases, [image_memory.lease_row(record) for record in memory.leases]
    yield tables.good_images, [image_memory.good_row(record) for record in memory.good]
    yield tables.images, [image_memory.image_row(record) for record in memory.images]
    yield tables.tags, [image_memory.tag_row(record) for record in memory.tags]


def delete(connection: sa.Connection, memory: ImageMemory) -> None:
    """By primary keys alone."""
    for table, rows in rows_of(memory):
        if rows:
            names = [column.name for column in table.primary_key.columns]
            same = [table.c[name] == sa.bindparam(f"the_{name}") for name in names]
            given = [{f"the_{name}": row[name] for name in names} for row in rows]
            connection.execute(sa.delete(table).where(*same), given)
