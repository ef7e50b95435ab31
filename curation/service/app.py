"""The service put together."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from anyio import CapacityLimiter
from fastapi import FastAPI
from sqlalchemy import Engine

import curation
from curation.ledger import migrate
from curation.service import errors, hooks, ingest, probes, reads
from curation.service.access import Access
from curation.service.context import Service
from curation.service.envelope import Envelope
from curation.service.fleet import Cached, ask_fleet
from curation.service.metrics import Requests
from curation.settings import Settings
from curation.web import app as web
from curation.web.sessions import LocalUser

FLEET_SECONDS = 5.0
"""How old the backlog in /metrics and /v1/status may be: counting what is left costs what is left."""

READY_SECONDS = 1.0  # anybody may ask
_DESCRIPTION = """Samples in, review queue out.

Every sample gets a risk score by a scorer. **Higher risk = riskier**; only the order within one dataset and one
scorer means something. Errors are `{"error": ..., "next": ...}`: what is wrong and what to do about it.
"""


def _silence() -> None:
    """A bell that rings nobody: samples wait until `curation score` or a worker looks."""


def create_app(
    engine: Engine,
    settings: Settings,
    ring: Callable[[], object] = _silence,
    local: LocalUser | None = None,
) -> FastAPI:
    """The service on an open ledger. `ring` is called after every ingest that kept something, in a thread.
    `local` may log in to the pages without a token.

    Raises InputError if a setting cannot be used.
    """
    service = Service(
        engine=engine,
        settings=settings,
        access=Access(engine, settings.serve_rate),
        requests=Requests(),
        fleet=Cached(partial(ask_fleet, engine), FLEET_SECONDS),
        trouble=Cached(partial(probes.trouble, engine, migrate.head()), READY_SECONDS),
        ingests=CapacityLimiter(ingest.AT_ONCE),
        bell=ring,
    )
    app = FastAPI(
        title="curation",
        version=curation.__version__,
        description=_DESCRIPTION,
        docs_url=None,  # it would load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service
    app.add_middleware(Envelope, requests=service.requests)
    errors.install(app)
    for room in (ingest, reads, hooks, probes):
        app.include_router(room.router)
    web.install(app, service, local)
    return app
