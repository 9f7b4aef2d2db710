"""The first schema: objects, statuses, events, revisions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table("objects", *_key(), *_object_columns())
    op.create_table("statuses", *_key(), *_status_columns())
    op.create_table("events", *_event_columns())
    op.create_index("events_by_key", "events", ["project", "kind", "name"])
    op.create_index("events_by_time", "events", ["at"])
    op.create_table("revisions", *_revision_columns())
    op.create_index("revisions_by_time", "revisions", ["seen_at"])


def _key() -> list[sa.Column[str]]:
    return [sa.Column(name, sa.String(), primary_key=True) for name in ("project", "kind", "name")]


def _object_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("spec", sa.Text(), nullable=False),
        sa.Column("spec_hash", sa.String(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("observed_generation", sa.Integer(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("deleting", sa.Boolean(), nullable=False),
        sa.Column("updated_at", sa.Float(), nullable=False),
    ]


def _status_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("phase", sa.String(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("restarts", sa.Integer(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("conditions", sa.Text(), nullable=False),
        sa.Column("containers", sa.Text(), nullable=False),
        sa.Column("memory", sa.Text(), nullable=False),
    ]


def _event_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
    ]


def _revision_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("source", sa.String(), primary_key=True),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("converged_at", sa.Float()),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
    ]
