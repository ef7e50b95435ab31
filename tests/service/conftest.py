"""Fixtures of the service's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine

from tests.service.running import Running, serving


@pytest.fixture
def service(ledger: Engine) -> Iterator[Running]:
    """The service on an empty ledger, once on SQLite and once on Postgres."""
    with serving(ledger) as running:
        yield running
