"""The pages on a ledger with everything in it, served once for all tests that only look."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from curation.ledger import open_ledger
from tests.service.running import Running, serving
from tests.web.ledgers import fill
from tests.web.records import keep_records


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Tests that change something in it do so to samples of their own, or serve a ledger of their own."""
    home = tmp_path_factory.mktemp("site")
    engine = open_ledger(home=home)
    fill(engine)
    with serving(engine, home=home) as running:
        yield running
    engine.dispose()


@pytest.fixture(scope="session")
def records(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Decisions, exports, scorers and directions; nothing changes it."""
    home = tmp_path_factory.mktemp("records")
    engine = open_ledger(home=home)
    keep_records(engine, home)
    with serving(engine, home=home) as running:
        yield running
    engine.dispose()
