"""What every route works with, made once for the process."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from anyio import CapacityLimiter
from fastapi import Depends, Request
from sqlalchemy import Engine

from curation.service.access import Access
from curation.service.fleet import Cached, Fleet
from curation.service.metrics import Requests
from curation.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Service:
    """The ledger, who may use it, and what is counted on the way.

    `trouble` says why the ledger cannot be used, None if it can. `ingests` bounds those at work at one time.
    """

    engine: Engine
    settings: Settings
    access: Access
    requests: Requests
    fleet: Cached[Fleet]
    trouble: Cached[str | None]
    ingests: CapacityLimiter
    bell: Callable[[], object]

    def ring(self) -> None:
        """Tell the workers to look now. What is in the ledger they find without that, only later."""
        try:
            self.bell()
        except Exception as error:  # whatever the bell hangs on: the samples are safe
            _log.warning("the workers could not be rung: %s", type(error).__name__)


def _service(request: Request) -> Service:
    return request.app.state.service


Here = Annotated[Service, Depends(_service)]
"""The service, as a parameter of a route."""
