"""A ledger for the tests of Argilla alone; those of the contract run on both kinds of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.ledger import connect, upgrade
from tests.argilla.rig import ArgillaRig
from tests.argilla.server import Argilla
from tests.platforms.rig import Ledger


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger without samples."""
    engine = connect(f"sqlite:///{tmp_path}/ledger.db")
    upgrade(engine)
    yield Ledger(engine)
    engine.dispose()


@pytest.fixture
def rig(argilla: Argilla) -> ArgillaRig:
    return ArgillaRig(argilla)
