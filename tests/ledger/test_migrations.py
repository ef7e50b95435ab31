"""The revisions build what the tables say, up and down, on both engines."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from curation.ledger import add_samples, connect, open_ledger, revision, upgrade, writing
from curation.ledger.migrate import alembic_config, head
from curation.ledger.tables import metadata, tallies
from tests import servers
from tests.ledger.builders import contents, sample, scored_dataset


def test_there_is_one_head() -> None:
    assert ScriptDirectory.from_config(alembic_config()).get_heads() == [head()]


def test_the_revisions_and_the_tables_agree(ledger: Engine) -> None:
    with ledger.connect() as conn:
        command.check(alembic_config(conn))


def test_the_revisions_and_the_tables_agree_to_the_letter(tmp_path: Path) -> None:
    """Autogenerate compares neither checks nor storage options; the stored DDL has them."""
    open_ledger(home=tmp_path).dispose()
    declared = sa.create_engine(f"sqlite:///{tmp_path}/declared.db")
    metadata.create_all(declared)
    assert ddl(tmp_path / "ledger.db") - {"alembic_version"} == ddl(tmp_path / "declared.db")


def ddl(path: Path) -> set[str]:
    """Every clause of every table and index; the order of clauses does not matter."""
    found: set[str] = set()
    for name, statement in sqlite3.connect(path).execute("SELECT tbl_name, sql FROM sqlite_master"):
        for clause in (statement or "").split("\n") if name != "alembic_version" else ():
            found.add(name + ": " + re.sub(r"[\s,]+", " ", clause).strip())
    return found


@pytest.mark.slow
def test_the_revisions_and_the_tables_agree_to_the_letter_on_postgres(
    postgres_ledger: Engine, postgres_server: str
) -> None:
    with servers.database(postgres_server) as url:
        declared = connect(url)
        metadata.create_all(declared)
        assert catalogue(postgres_ledger) == catalogue(declared)
        declared.dispose()


def catalogue(engine: Engine) -> list[tuple[str, ...]]:
    queries = (
        "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default,"
        " collation_name FROM information_schema.columns WHERE table_schema = 'public'",
        "SELECT conrelid::regclass, conname, pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid > 0",
        "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    )
    with engine.connect() as conn:
        rows = [tuple(map(str, row)) for query in queries for row in conn.exec_driver_sql(query)]
    return sorted(row for row in rows if row[0] != "alembic_version" and not row[0].startswith("pg_"))


def test_up_down_up_with_data(ledger: Engine) -> None:
    scored_dataset(ledger, [0.5, -1.0, 0.25])
    before = contents(ledger)
    upgrade(ledger)
    assert contents(ledger) == before

    with writing(ledger) as conn:
        command.downgrade(alembic_config(conn), "base")
    assert revision(ledger) is None
    assert sa.inspect(ledger).get_table_names() == ["alembic_version"]

    upgrade(ledger)
    assert contents(ledger) == {"samples": [], "lines": [], "scores": []}
    assert add_samples(ledger, "d", [sample("a", 1)]).new == 1


def test_scores_from_before_ranks_were_tallied_are_counted(ledger: Engine) -> None:
    scored_dataset(ledger, [0.5, -1.0, 0.5, 0.0, 5e-324, -3e7])
    before = tallied(ledger)
    with writing(ledger) as conn:
        command.downgrade(alembic_config(conn), "0006")
    upgrade(ledger)
    assert tallied(ledger) == before
    assert sum(n for *_, n in before) == 6


def tallied(engine: Engine) -> list[tuple[int, ...]]:
    with engine.connect() as conn:
        columns = tallies.c.dataset_id, tallies.c.scorer_id, tallies.c.cell, tallies.c.n
        return [tuple(row) for row in conn.execute(sa.select(*columns).order_by(*columns))]


def test_a_failed_upgrade_leaves_nothing_behind(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    with writing(ledger) as conn:
        command.downgrade(alembic_config(conn), "base")
    failing = command.upgrade

    def fail_at_the_end(config: Config, target: str) -> None:
        failing(config, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "upgrade", fail_at_the_end)
    with pytest.raises(KeyboardInterrupt):
        upgrade(ledger)
    assert sa.inspect(ledger).get_table_names() == ["alembic_version"]
    monkeypatch.undo()
    upgrade(ledger)
    assert revision(ledger) == head()
