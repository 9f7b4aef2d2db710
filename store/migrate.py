"""Lead an older database to head with Alembic. Imported only when there is something to lead: Alembic
costs a quarter of a second and ten megabytes.

Every script runs in the one transaction that the caller's connection holds here: all or nothing.
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


def upgrade(connection: sa.Connection, to: str = "head", migrations: Path = MIGRATIONS) -> None:
    """Run the scripts that lead from the database's version to `to`, in one transaction."""
    config = Config()
    config.set_main_option("script_location", str(migrations).replace("%", "%%"))
    with connection.begin():
        config.attributes["connection"] = connection
        command.upgrade(config, to)
