"""A running Label Studio for the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import servers
from tests.label_studio.server import LabelStudio, OwnLabelStudio, on_postgres
from tests.servers import StartError


@pytest.fixture(scope="session")
def label_studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    """That of CURATION_TEST_LABEL_STUDIO_URL and _TOKEN if set, otherwise a server of our own.

    It keeps its data in SQLite, or with CURATION_TEST_LABEL_STUDIO_POSTGRES=1 in Postgres. That takes minutes to fill,
    and needs the extension pg_trgm, so name a server that has it: CURATION_TEST_POSTGRES_URL.
    """
    if url := os.environ.get("CURATION_TEST_LABEL_STUDIO_URL"):
        yield LabelStudio(url, os.environ["CURATION_TEST_LABEL_STUDIO_TOKEN"])
        return
    own = None
    try:
        with ExitStack() as stack:
            database = None
            if os.environ.get("CURATION_TEST_LABEL_STUDIO_POSTGRES"):
                database = on_postgres(
                    stack.enter_context(servers.database(stack.enter_context(servers.postgres())))
                )
            own = OwnLabelStudio(tmp_path_factory.mktemp("label-studio"), database)
            own.start()
            yield own
            own.close()
    except StartError as error:
        pytest.skip(
            f"Label Studio cannot be started here: {error}\nan existing server can be named by "
            "CURATION_TEST_LABEL_STUDIO_URL and CURATION_TEST_LABEL_STUDIO_TOKEN"
        )
    finally:
        if own:
            own.close()
