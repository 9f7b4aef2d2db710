"""What events are to programs that follow the Docker Engine API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("events", sa.Column("happenings", sa.Text(), nullable=False, server_default="[]"))
