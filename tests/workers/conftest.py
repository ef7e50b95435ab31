"""A broker of our own, and a fleet on it. All tests of the fleet are slow: they start real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from tests import servers
from tests.workers.harness import Fleet


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Redis]:
    server = servers.Redis(tmp_path_factory.mktemp("redis"))
    yield server
    server.kill()


@pytest.fixture
def redis(redis_server: servers.Redis) -> servers.Redis:
    """The session's Redis, emptied."""
    redis_server.client().flushall()
    return redis_server


@pytest.fixture
def fleet(ledger: Engine, ledger_url: str, redis: servers.Redis, tmp_path: Path) -> Iterator[Fleet]:
    """No worker yet, on an empty ledger, once on SQLite and once on Postgres."""
    yield from _fleet(ledger, ledger_url, redis.url, tmp_path)


@pytest.fixture
def postgres_fleet(
    postgres_ledger: Engine, postgres_url: str, redis: servers.Redis, tmp_path: Path
) -> Iterator[Fleet]:
    yield from _fleet(postgres_ledger, postgres_url, redis.url, tmp_path)


def _fleet(engine: Engine, url: str, broker: str, folder: Path) -> Iterator[Fleet]:
    fleet = Fleet(engine, url, broker, folder)
    yield fleet
    fleet.close()
