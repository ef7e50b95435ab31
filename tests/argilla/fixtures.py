"""A running Argilla for the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.argilla.server import Argilla, OwnArgilla
from tests.servers import StartError


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Argilla]:
    """That of CURATION_TEST_ARGILLA_URL and CURATION_TEST_ARGILLA_KEY if set, otherwise a server of our own."""
    if url := os.environ.get("CURATION_TEST_ARGILLA_URL"):
        yield Argilla(url, os.environ["CURATION_TEST_ARGILLA_KEY"])
        return
    own = None
    try:
        own = OwnArgilla(tmp_path_factory.mktemp("argilla"))
        own.start()
        yield own
    except StartError as error:
        pytest.skip(
            f"Argilla cannot be started here: {error}\n"
            "an existing server can be named by CURATION_TEST_ARGILLA_URL and CURATION_TEST_ARGILLA_KEY"
        )
    finally:
        if own:
            own.close()


@pytest.fixture
def own_argilla(argilla: Argilla) -> Iterator[OwnArgilla]:
    """The same server for tests that stop parts of it; all parts but the worker run again afterwards."""
    if not isinstance(argilla, OwnArgilla):
        pytest.skip("the server of CURATION_TEST_ARGILLA_URL is not ours to stop")
    yield argilla
    for program in (argilla.engine, argilla.server):
        if not program.running:
            program.start()


@pytest.fixture
def argilla_worker(argilla: Argilla) -> None:
    """Argilla's worker listens: webhooks arrive."""
    if isinstance(argilla, OwnArgilla):
        argilla.start_worker()
