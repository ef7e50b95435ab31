"""The contract's tests run on every platform, each a real server, and with both kinds of ledger."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from curation.ledger import connect, upgrade
from tests.platforms.rig import Ledger, Rig


@pytest.fixture(params=["label-studio and sqlite", "label-studio and postgres", "argilla and sqlite"])
def combination(request: pytest.FixtureRequest) -> str:
    """A platform and a ledger. What the reconcilers do in the ledger is the same for every platform."""
    return request.param


@pytest.fixture
def rig(combination: str, request: pytest.FixtureRequest) -> Iterator[Rig]:
    from tests.argilla.rig import ArgillaRig
    from tests.label_studio.rig import LabelStudioRig

    made: ArgillaRig | LabelStudioRig
    if combination.startswith("argilla"):
        made = ArgillaRig(request.getfixturevalue("argilla"))
    else:
        made = LabelStudioRig(request.getfixturevalue("label_studio"))
    yield made
    if not made.server.answers():
        made.start()


@pytest.fixture
def book(combination: str, request: pytest.FixtureRequest) -> Iterator[Ledger]:
    """A ledger without samples."""
    if combination.endswith("sqlite"):
        engine = connect(f"sqlite:///{request.getfixturevalue('tmp_path')}/ledger.db")
        upgrade(engine)
    else:
        engine = request.getfixturevalue("postgres_ledger")
    yield Ledger(engine)
    engine.dispose()
