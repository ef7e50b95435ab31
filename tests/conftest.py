"""Fixtures for the whole suite: an empty ledger on each of the two engines."""

from __future__ import annotations

import os

# before torch is imported: spinning threads of tests that run side by side would starve each other
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from curation.ledger import connect, open_ledger, upgrade
from tests import servers

# A console keeps the width that it is made with: it must not be that of whichever test happens to be first.
with pytest.MonkeyPatch.context() as patch:
    patch.setenv("COLUMNS", "500")
    import curation.cli.console  # noqa: F401

pytest_plugins = ["tests.browser", "tests.argilla.fixtures", "tests.label_studio.fixtures", "tests.sharing"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    with servers.postgres() as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Address of an empty Postgres database; tests that use it are slow ones."""
    with servers.database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.slow)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty database without tables, once on SQLite and once on Postgres."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    return request.getfixturevalue("postgres_url")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Engine]:
    """An empty ledger with this version's tables, once on SQLite and once on Postgres."""
    yield from _ledger(ledger_url)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """A SQLite ledger, for what has nothing to do with the database."""
    engine = open_ledger(home=tmp_path)
    yield engine
    engine.dispose()


@pytest.fixture
def postgres_ledger(postgres_url: str) -> Iterator[Engine]:
    yield from _ledger(postgres_url)


def _ledger(url: str) -> Iterator[Engine]:
    engine = connect(url)
    upgrade(engine)
    yield engine
    engine.dispose()
