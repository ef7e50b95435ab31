"""Many rows in one go: what SQLite and Postgres do alike, and the one thing they do not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(conn: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """INSERT in the connection's dialect, for its ON CONFLICT."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


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
