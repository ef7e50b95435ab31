"""Which schema a ledger has and how it gets the current one (Alembic revisions in `migrations/`)."""

from __future__ import annotations

import logging
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

import curation
from curation.errors import LedgerError

# It tells every program that opens a ledger which dialect it found.
logging.getLogger("alembic").setLevel(logging.WARNING)

# Any fixed number will do: it only has to be the same in every process that upgrades this database.
UPGRADE_LOCK = 7_309_442_216


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's settings; commands given this run on `connection` and leave the commit to its owner."""
    package = Path(curation.__file__).parent
    shipped = package / "migrations"  # in a wheel; in a checkout the folder is next to the package
    config = Config(str((shipped if shipped.is_dir() else package.parent / "migrations") / "alembic.ini"))
    config.attributes["connection"] = connection
    return config


def revision(engine: Engine) -> str | None:
    """The schema revision of the database, None if it holds no ledger yet."""
    with engine.connect() as conn:
        return MigrationContext.configure(conn).get_current_revision()


def head() -> str:
    """The schema revision this version of curation works with."""
    newest = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert newest is not None
    return newest


def is_current(engine: Engine) -> bool:
    """Whether the database has the schema of this version.

    Raises LedgerError if it has one that this version does not know: it was written by a newer version, or
    by another program altogether, and must be left alone.
    """
    found = revision(engine)
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if found is not None and found not in known:
        raise LedgerError(
            f"the ledger has schema {found}, which curation {curation.__version__} does not know",
            "Install the version of curation that wrote it, or name another database.",
        )
    return found == head()


def upgrade(engine: Engine) -> None:
    """Bring the schema to this version in one transaction: it happens as a whole or not at all.

    Safe to call at any time and from several processes at once. Raises LedgerError as `is_current` does, and
    if the database does not let it happen.
    """
    if is_current(engine):
        return
    try:
        _run_revisions(engine)
    except DBAPIError as error:
        raise LedgerError(
            f"the ledger's tables could not be brought to this version: {driver_message(error)}",
            "Nothing was changed. Use a database of the ledger's own, as a user who may create tables.",
        ) from error


def driver_message(error: Exception) -> str:
    """What the database driver said of a failure, first line only: what follows may quote rows."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return next(iter(str(cause).strip().splitlines()), type(cause).__name__)


def _run_revisions(engine: Engine) -> None:
    with engine.connect() as conn:
        if engine.dialect.name == "sqlite":
            # Alembic alters a SQLite table by copying it, and dropping the old one must not touch its
            # children. The pragma works only outside a transaction, so it goes to the driver directly.
            _pragma(conn, "foreign_keys = OFF")
            conn = conn.execution_options(ledger_write=True)
        try:
            with conn.begin():
                if engine.dialect.name == "postgresql":
                    conn.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
                    # Rather give up than stop everyone else by queueing behind a long query.
                    conn.execute(sa.text("SET LOCAL lock_timeout = '30s'"))
                command.upgrade(alembic_config(conn), "head")
        finally:
            if engine.dialect.name == "sqlite":
                _pragma(conn, "foreign_keys = ON")


def _pragma(conn: Connection, setting: str) -> None:
    driver = conn.connection.driver_connection
    assert driver is not None
    driver.execute(f"PRAGMA {setting}").close()
