"""Runs Alembic on the connection that curation hands over, or on `-x url=...` for developers."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection

from curation.ledger.engine import connect
from curation.ledger.tables import metadata


def run(connection: Connection) -> None:
    # Batch mode: SQLite can alter hardly anything in place. Its DDL is transactional here because the
    # engine begins its transactions itself.
    context.configure(
        connection=connection, target_metadata=metadata, render_as_batch=True, transactional_ddl=True
    )
    with context.begin_transaction():
        context.run_migrations()


given: Connection | None = context.config.attributes.get("connection")
if given is not None:
    run(given)
else:
    with connect(context.get_x_argument(as_dictionary=True)["url"]).connect() as own:
        run(own)
