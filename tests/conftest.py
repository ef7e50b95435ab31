"""Fixtures for the whole suite: an empty ledger on each of the two engines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from curation.ledger.engine import connect, open_ledger
from curation.ledger.migrate import upgrade
from tests import servers


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Address of an empty database without tables, once on SQLite and once on Postgres."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
    else:
        with servers.database(request.getfixturevalue("postgres_server")) as url:
            yield url


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Engine]:
    """An empty ledger with this version's tables, once on SQLite and once on Postgres."""
    engine = connect(ledger_url)
    upgrade(engine)
    engine.dispose()
    engine = open_ledger(ledger_url)
    yield engine
    engine.dispose()
