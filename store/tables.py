"""The tables, and which schema versions exist. `store.store` reads and writes them, Alembic's
scripts in `store/migrations` lead an older database here. No I/O.

Whatever has an inner shape (spec, conditions, causes) is one JSON text column: it is read and
written whole, and PostgreSQL takes the same schema.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Float, Index, Integer, MetaData, String, Table, Text

# Oldest first. A migration adds its revision here; tests hold this list to the scripts.
REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]

metadata = MetaData()

objects = Table(
    "objects",
    metadata,
    Column("project", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("spec", Text, nullable=False),
    Column("spec_hash", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("observed_generation", Integer, nullable=False),
    Column("file", Text, nullable=False),
    Column("line", Integer, nullable=False),
    Column("revision", String, nullable=False),
    Column("deleting", Boolean, nullable=False),
    Column("updated_at", Float, nullable=False),
)

statuses = Table(
    "statuses",
    metadata,
    Column("project", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("phase", String, nullable=False),
    Column("ready", Boolean, nullable=False),
    Column("since", Float, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("message", Text, nullable=False),
    Column("conditions", Text, nullable=False),
    Column("containers", Text, nullable=False),
    Column("memory", Text, nullable=False),
)

# The one writer gives the ids, so that a follower knows the last one without a query.
events = Table(
    "events",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("project", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("name", String, nullable=False),
    Column("type", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("revision", String, nullable=False),
    Column("cause", Text, nullable=False),
    Column("happenings", Text, nullable=False, server_default="[]"),
    Index("events_by_key", "project", "kind", "name"),
    Index("events_by_time", "at"),
)

revisions = Table(
    "revisions",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, primary_key=True),
    Column("seen_at", Float, nullable=False),
    Column("outcome", String, nullable=False),
    Column("message", Text, nullable=False),
    Column("converged_at", Float),
    Column("subject", Text, nullable=False),
    Column("author", Text, nullable=False),
    Index("revisions_by_time", "seen_at"),
)

# What is remembered of images (`store.image_memory`).
leases = Table(
    "leases",
    metadata,
    Column("id", String, primary_key=True),
    Column("subject", String, nullable=False),
    Column("owner", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

good_images = Table(
    "good_images",
    metadata,
    Column("project", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("image", String, primary_key=True),
    Column("reference", Text, nullable=False),
    Column("revision", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("removed_at", Float),
)

images = Table(
    "images",
    metadata,
    Column("id", String, primary_key=True),
    Column("seen_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),
    Column("checked_at", Float),
    Column("damage", Text, nullable=False),
)

tags = Table(
    "tags",
    metadata,
    Column("reference", String, primary_key=True),
    Column("digest", String, primary_key=True),
    Column("seen_at", Float, nullable=False),
)

# Alembic's own table, declared here so that a fresh database needs no Alembic.
alembic_version = Table("alembic_version", metadata, Column("version_num", String(32), primary_key=True))
