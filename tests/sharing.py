"""Which tests stay together where several processes share them (`pytest -n 2`)."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

SERVERS = {
    "Label Studio": ("label_studio", "label-studio", "tutorial.md", "workers/test_platforms"),
    "Argilla": ("argilla",),
}
"""What names of tests have in them that talk to a server which takes long to start."""


class Together(LoadScopeScheduling):
    """All tests of such a server run in one process, so that it is started once, and the tests of a file in one.

    Each test of the fleet is on its own: they take longest, and share little.
    """

    def _split_scope(self, nodeid: str) -> str:
        for server, words in SERVERS.items():
            if any(word in nodeid for word in words):
                return server
        return nodeid if nodeid.startswith("tests/workers/") else nodeid.partition("::")[0]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Together:
    return Together(config, log)
