"""The scripts lead every known schema to head, in one transaction, and end where create_all begins."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa

from store import migrate, tables
from store.records import Batch
from store.store import Store

from .conftest import an_object, key

NEXT = """
import sqlalchemy as sa
from alembic import op
revision = "9999"
down_revision = "{head}"

def upgrade():
    with op.batch_alter_table("objects") as table:
        table.add_column(sa.Column("note", sa.Text(), nullable=False, server_default="kept"))
    op.execute("UPDATE objects SET owner = 'api'")
    {last}
"""


def columns_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    with sqlite3.connect(path) as raw:
        names = [row[0] for row in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        shape = {name: raw.execute(f"PRAGMA table_info({name})").fetchall() for name in sorted(names)}
        indexes = (
            "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY 1"
        )
        shape["indexes"] = raw.execute(indexes).fetchall()
    raw.close()
    return shape


def engine_for(path: Path) -> sa.Engine:
    return sa.create_engine(f"sqlite:///{path}")


def test_the_scripts_end_at_the_tables(path: Path, tmp_path: Path) -> None:
    Store(path).close()
    other = tmp_path / "migrated.db"
    engine = engine_for(other)
    with engine.connect() as connection:
        migrate.upgrade(connection)
    engine.dispose()
    assert columns_of(other) == columns_of(path)


def test_the_list_of_revisions_is_that_of_the_scripts() -> None:
    scripts = sorted(file.name[:4] for file in (migrate.MIGRATIONS / "versions").glob("[0-9]*.py"))
    assert tuple(scripts) == tables.REVISIONS


def migrations_with(tmp_path: Path, last: str) -> Path:
    copy = tmp_path / "migrations"
    shutil.copytree(migrate.MIGRATIONS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "versions" / "9999_note.py").write_text(NEXT.format(head=tables.HEAD, last=last))
    return copy


def test_an_older_database_is_led_to_head_with_its_rows(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(path)
    store.write(Batch(objects=(an_object(),)))
    store.close()
    monkeypatch.setattr(migrate.upgrade, "__defaults__", ("head", migrations_with(tmp_path, "")))
    monkeypatch.setattr(tables, "REVISIONS", (*tables.REVISIONS, "9999"))
    monkeypatch.setattr(tables, "HEAD", "9999")
    store = Store(path)
    assert store.load()[0] == {key(): an_object(owner="api")}
    store.close()
    with sqlite3.connect(path) as raw:
        assert raw.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]
        assert raw.execute("SELECT note FROM objects").fetchall() == [("kept",)]
    raw.close()


def test_a_migration_that_fails_changes_nothing(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(path)
    store.write(Batch(objects=(an_object(),)))
    store.close()
    before = columns_of(path)
    broken = migrations_with(tmp_path, 'op.execute("INSERT INTO nowhere VALUES (1)")')
    monkeypatch.setattr(migrate.upgrade, "__defaults__", ("head", broken))
    monkeypatch.setattr(tables, "REVISIONS", (*tables.REVISIONS, "9999"))
    monkeypatch.setattr(tables, "HEAD", "9999")
    with pytest.raises(Exception, match="nowhere"):
        Store(path)
    assert columns_of(path) == before
    monkeypatch.undo()
    store = Store(path)
    assert store.load()[0] == {key(): an_object()}
    store.close()


def test_a_database_of_the_first_schema_is_led_to_head(path: Path) -> None:
    path.parent.mkdir()
    engine = engine_for(path)
    with engine.connect() as connection:
        migrate.upgrade(connection, "0001")
        connection.execute(
            sa.text("INSERT INTO revisions VALUES ('c0ffee', 'git', 1, 'applied', '', 2, '', '')")
        )
        connection.commit()
    engine.dispose()
    store = Store(path)
    assert [revision.id for revision in store.revisions()] == ["c0ffee"]
    assert not store.images()
    store.close()


def test_a_database_at_head_needs_no_alembic(path: Path) -> None:
    Store(path).close()
    code = "import sys; from store.store import Store; Store(sys.argv[1]).close()"
    code += "; print('alembic' in sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, cwd=Path(__file__).parents[3]
    )
    assert run.stdout == "False\n", run.stderr
