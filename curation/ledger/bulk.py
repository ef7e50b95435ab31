"""Many rows in one go: what SQLite and Postgres do alike, and the one thing they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Row, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(conn: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """INSERT in the connection's dialect, for its ON CONFLICT."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


def insert_new(
    conn: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *returning: Column[Any]
) -> Sequence[Row[Any]]:
    """Insert the rows whose key the table does not have yet; all rows give the same columns.

    Returns those columns that are asked for, of the rows that were new.
    """
    new = insert(conn, table)
    if conn.dialect.name != "postgresql":
        skipping = new.on_conflict_do_nothing()
        if not returning:
            conn.execute(skipping, rows)
            return []
        return conn.execute(skipping.returning(*returning), rows).all()
    # COPY cannot skip rows, so they pass through a temporary table, which a session makes once.
    names = list(rows[0])
    staged = sa.Table(
        f"new_{table.name}",
        sa.MetaData(),
        *(sa.Column(name, table.c[name].type) for name in names),
        prefixes=["TEMPORARY"],
        postgresql_on_commit="DELETE ROWS",
    )
    conn.execute(sa.schema.CreateTable(staged, if_not_exists=True))
    load(conn, staged, rows)
    copied = new.from_select(names, sa.select(staged)).on_conflict_do_nothing()
    if not returning:
        conn.execute(copied)
        return []
    return conn.execute(copied.returning(*returning)).all()


def load(conn: Connection, table: Table, rows: Iterable[Mapping[str, Any]]) -> None:
    """Fill an empty table as fast as the engine can: COPY on Postgres, executemany on SQLite."""
    names = table.columns.keys()
    if conn.dialect.name != "postgresql":
        conn.execute(table.insert(), list(rows))
        return
    driver = conn.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row([row[name] for name in names])
