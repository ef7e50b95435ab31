"""Opening a ledger: a file or server that is not there, a database of someone else's."""

from __future__ import annotations

import sqlite3
import stat
import sys
import traceback
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, text

from curation.errors import LedgerError
from curation.ledger import (
    add_samples,
    connect,
    list_datasets,
    open_ledger,
    reading,
    revision,
    upgrade,
    writing,
)
from curation.ledger.migrate import head
from tests.ledger.builders import sample


def test_a_new_file_is_created_private_and_ready(tmp_path: Path) -> None:
    engine = open_ledger(home=tmp_path / "new" / "home")
    path = tmp_path / "new" / "home" / "ledger.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert revision(engine) == head()
    assert add_samples(engine, "d", [sample("a", 1)]).new == 1


def test_a_file_is_opened_again_with_what_it_holds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/odd % näme.db"
    add_samples(open_ledger(url), "d", [sample("a", 1)])
    with open_ledger(url).connect() as conn:
        assert [dataset.name for dataset in list_datasets(conn)] == ["d"]


def test_an_older_file_is_upgraded_on_opening(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    assert revision(connect(url)) is None
    assert revision(open_ledger(url)) == head()


@pytest.mark.slow
def test_a_server_is_never_upgraded_in_passing(postgres_url: str) -> None:
    with pytest.raises(LedgerError) as refused:
        open_ledger(postgres_url)
    assert "curation db upgrade" in refused.value.hint
    engine = connect(postgres_url)
    assert revision(engine) is None
    upgrade(engine)
    upgrade(engine)
    assert revision(open_ledger(postgres_url)) == head()
    engine.dispose()


def test_a_newer_ledger_is_left_alone(ledger: Engine, ledger_url: str) -> None:
    with ledger.begin() as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (lambda: open_ledger(ledger_url), lambda: upgrade(ledger)):
        with pytest.raises(LedgerError, match="9999"):
            attempt()
    assert revision(ledger) == "9999"


def test_settings_that_keep_the_file_whole_are_on(tmp_path: Path) -> None:
    engine = open_ledger(home=tmp_path)
    for _ in range(3):
        with engine.connect() as conn:
            pragmas = {
                name: conn.exec_driver_sql(f"PRAGMA {name}").scalar_one()
                for name in ("journal_mode", "foreign_keys", "busy_timeout")
            }
            assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000}


def test_a_writer_holds_the_write_lock_from_the_start(tmp_path: Path) -> None:
    engine = open_ledger(home=tmp_path)
    other = sqlite3.connect(tmp_path / "ledger.db", timeout=0, isolation_level=None)
    with writing(engine), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    with reading(engine) as conn:
        conn.execute(text("SELECT count(*) FROM samples"))
        other.execute("BEGIN IMMEDIATE")  # readers are in nobody's way
        other.execute("ROLLBACK")


def test_a_reader_sees_one_moment(ledger: Engine) -> None:
    count = text("SELECT count(*) FROM samples")
    with reading(ledger) as conn:
        before = conn.execute(count).scalar_one()
        add_samples(ledger, "d", [sample("a", 1)])
        assert conn.execute(count).scalar_one() == before
    with reading(ledger) as conn:
        assert conn.execute(count).scalar_one() == before + 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@127.0.0.1:1/db",
        "postgresql+psycopg://127.0.0.1:1/db?user=me&password=hunter2&connect_timeout=3",
        "mysql://me:hunter2@localhost/db",
        "me:hunter2@localhost/db",
        "postgresql://me:hunter2@localhost:port/db",
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:////proc/no/such/ledger.db",
    ],
)
def test_what_cannot_be_opened_is_explained_without_the_password(url: str) -> None:
    with pytest.raises(LedgerError) as refused:
        open_ledger(url)
    assert refused.value.hint
    assert "hunter2" not in "".join(traceback.format_exception(refused.value))


def test_without_its_driver_postgres_says_which_extra_has_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)  # as if it were not installed
    with pytest.raises(LedgerError) as refused:
        open_ledger("postgresql://127.0.0.1:1/db")
    assert "curation[postgres]" in refused.value.hint
    open_ledger(home=tmp_path).dispose()  # and SQLite does without


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": "the secret text"}\n' * 100)
    before = path.read_bytes()
    with pytest.raises(LedgerError, match="not a database"):
        open_ledger(f"sqlite:///{path}")
    assert path.read_bytes() == before


def test_tables_that_are_in_the_way_are_left_alone(ledger_url: str) -> None:
    engine = connect(ledger_url)
    with engine.begin() as conn:
        conn.execute(text("CREATE TABLE scores (player text)"))
    with pytest.raises(LedgerError, match="already exists"):
        upgrade(engine)
    assert sa.inspect(engine).get_table_names() == ["scores"]
    engine.dispose()


@pytest.mark.slow
def test_a_database_that_cannot_hold_every_text_is_refused(postgres_server: str) -> None:
    admin = sa.create_engine(
        sa.make_url(postgres_server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as conn:
        conn.exec_driver_sql("CREATE DATABASE curation_latin ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    url = admin.url.set(database="curation_latin").render_as_string(hide_password=False)
    try:
        with pytest.raises(LedgerError, match="LATIN1"):
            connect(url)
    finally:
        with admin.connect() as conn:
            conn.exec_driver_sql("DROP DATABASE curation_latin WITH (FORCE)")
        admin.dispose()
