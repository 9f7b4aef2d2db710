"""What is remembered of images: leases, the last good ones, when each was used, what tags meant."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "leases",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=False),
    )
    op.create_table(
        "good_images",
        *(sa.Column(name, sa.String(), primary_key=True) for name in ("project", "kind", "name", "image")),
        sa.Column("reference", sa.Text(), nullable=False),
        sa.Column("revision", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("removed_at", sa.Float()),
    )
    op.create_table(
        "images",
        sa.Column("id", sa.String(), primary_key=True),
        sa.Column("seen_at", sa.Float(), nullable=False),
        sa.Column("used_at", sa.Float(), nullable=False),
        sa.Column("checked_at", sa.Float()),
        sa.Column("damage", sa.Text(), nullable=False),
    )
    op.create_table(
        "tags",
        sa.Column("reference", sa.String(), primary_key=True),
        sa.Column("digest", sa.String(), primary_key=True),
        sa.Column("seen_at", sa.Float(), nullable=False),
    )
