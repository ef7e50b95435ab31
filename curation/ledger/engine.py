"""Opening the ledger and its two kinds of transaction, on SQLite and on Postgres."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs
import sqlalchemy as sa
from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection

from curation.errors import LedgerError, LedgerUnavailable
from curation.ledger import migrate
from curation.ledger.migrate import driver_message

BUSY_SECONDS = 30
"""How long a writer waits for another process's transaction before it gives up."""

_URL_HINT = "Use sqlite:///path/to/ledger.db or postgresql://user:password@host/database."


def open_ledger(url: str | None = None, home: Path | None = None) -> Engine:
    """Open the ledger at `url`, by default the SQLite file `ledger.db` in `home` (the user's data folder).

    A SQLite file is created and its schema upgraded as needed, under a file lock. A Postgres schema is never
    changed in passing: other machines may be using it.

    Raises LedgerError if the database is unreachable, is not a ledger, or has another version's schema.
    """
    target = _parse(url, home)
    if target.get_backend_name() == "sqlite":
        return _open_file(target)
    engine = _connect(target)
    if not migrate.is_current(engine):
        engine.dispose()
        raise LedgerError(
            f"the ledger at {_shown(target)} does not have this version's tables",
            "Run `curation db upgrade` once, with no older version of curation running.",
        )
    return engine


def connect(url: str | None = None, home: Path | None = None) -> Engine:
    """An engine on the ledger's database whatever its schema, for `revision` and `upgrade`.

    Raises LedgerError if the database is unreachable or unfit.
    """
    target = _parse(url, home)
    if target.get_backend_name() == "sqlite":
        _create_file(target)
    return _connect(target)


@contextmanager
def writing(engine: Engine) -> Generator[Connection]:
    """A transaction that writes: committed on leaving the block, undone if the block raises.

    On SQLite it takes the write lock at once. A transaction that reads first and writes later would be
    refused, without waiting, if another process had written in between.
    """
    try:
        with engine.execution_options(ledger_write=True).begin() as conn:
            yield conn
    except outages() as error:
        raise LedgerUnavailable(
            f"the ledger at {_shown(engine.url)} did not take the change: {driver_message(error)}",
            "Nothing of it was kept. Check the database and run the same command again.",
        ) from error


@contextmanager
def reading(engine: Engine) -> Generator[Connection]:
    """A transaction in which every query sees the same moment of the ledger."""
    try:
        with engine.connect() as conn:
            if engine.dialect.name == "postgresql":
                conn = conn.execution_options(isolation_level="REPEATABLE READ")
            yield conn
    except outages() as error:
        raise LedgerUnavailable(
            f"the ledger at {_shown(engine.url)} cannot be read: {driver_message(error)}",
            "Check that the database runs and try again.",
        ) from error


def outages() -> tuple[type[Exception], ...]:
    """Errors of a database that is away, busy or full.

    COPY is the driver's own, and so are its errors; a driver that was never loaded raises none. InternalError: the
    server ended a transaction that idled.
    """
    driver = sys.modules.get("psycopg")
    own = (driver.OperationalError,) if driver else ()
    return (OperationalError, InterfaceError, InternalError, NoConnection, *own)


def _connect(target: URL) -> Engine:
    engine = _sqlite(target) if target.get_backend_name() == "sqlite" else _postgres(target)
    try:
        with engine.connect() as conn:
            _check(conn)
    except (DBAPIError, sqlite3.Error) as error:
        engine.dispose()
        raise LedgerUnavailable(
            f"cannot open the ledger at {_shown(target)}: {driver_message(error)}",
            "Check that the address is right, that the server runs and that you may use this database.",
        ) from None
    return engine


def _parse(url: str | None, home: Path | None) -> URL:
    if url is None:
        folder = home or platformdirs.user_data_path("curation")
        return URL.create("sqlite", database=str(folder / "ledger.db"))
    try:
        target = sa.make_url(url)
        backend = target.get_backend_name()
    except (ArgumentError, ValueError):
        raise LedgerError("the ledger's address is not a database URL", _URL_HINT) from None
    if backend == "postgresql":
        return target.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and target.database not in (None, "", ":memory:"):
        return target.set(drivername="sqlite")
    raise LedgerError(f"{_shown(target)} cannot hold a ledger", _URL_HINT)


def _shown(url: URL) -> str:
    """The address without its secrets."""
    secret = [key for key in url.query if "pass" in key]
    return url.difference_update_query(secret).render_as_string(hide_password=True)


def _open_file(target: URL) -> Engine:
    path = _create_file(target)
    try:
        with FileLock(f"{path}.lock", timeout=BUSY_SECONDS):
            engine = _connect(target)
            migrate.upgrade(engine)
            return engine
    except Timeout:
        raise LedgerError(
            f"another process has been upgrading the ledger {path} for {BUSY_SECONDS} s",
            "Wait for it to finish, then try again.",
        ) from None


def _create_file(target: URL) -> Path:
    assert target.database is not None
    path = Path(target.database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)  # other people's training data: for its owner's eyes
        return path
    except OSError as error:
        raise LedgerError(
            f"cannot create the ledger {path}: {error.strerror}", "Name a folder that you may write to."
        ) from None


# hide_parameters: a failing statement must not print the samples it carried.
def _sqlite(target: URL) -> Engine:
    engine = sa.create_engine(target, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def configure(driver: sqlite3.Connection, _record: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        driver.isolation_level = None  # the driver must not begin transactions on its own
        driver.execute(f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}").close()
        driver.execute("PRAGMA foreign_keys = ON").close()
        driver.execute("PRAGMA journal_mode = WAL").close()
        # Hashes fall anywhere in their index: the default of 2 MiB would read most pages again and again.
        driver.execute("PRAGMA cache_size = -65536").close()  # KiB

    @event.listens_for(engine, "begin")
    def begin(conn: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        write = conn.get_execution_options().get("ledger_write", False)
        conn.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


def _postgres(target: URL) -> Engine:
    if "connect_timeout" not in target.query:
        target = target.update_query_dict({"connect_timeout": "10"})
    try:
        return sa.create_engine(target, hide_parameters=True, pool_pre_ping=True)
    except ImportError:
        raise LedgerError(
            "a ledger in Postgres needs psycopg, which is not installed", "pip install 'curation[postgres]'"
        ) from None


def _check(conn: Connection) -> None:
    """Raise LedgerError for a database that would corrupt or refuse samples later on."""
    if conn.dialect.name == "sqlite":
        if conn.exec_driver_sql("PRAGMA journal_mode").scalar_one() != "wal":
            raise LedgerError(
                f"the file system of {conn.engine.url.database} does not support SQLite's write-ahead log",
                "Keep the ledger on a local disk, or use Postgres.",
            )
    elif (encoding := conn.exec_driver_sql("SHOW server_encoding").scalar_one()) != "UTF8":
        raise LedgerError(
            f"the database stores text as {encoding}, which cannot hold every sample",
            "Create one with `createdb --encoding=UTF8 --template=template0`.",
        )
