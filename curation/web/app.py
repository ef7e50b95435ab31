"""The pages put together, and onto the service."""

from __future__ import annotations

from fastapi import FastAPI

from curation.report.environment import make_environment
from curation.service.context import Service
from curation.web import (
    agreement,
    assets,
    decide,
    decisions,
    exports,
    login,
    overview,
    queue,
    sample,
    scorers,
)
from curation.web.pages import Room, lost
from curation.web.sessions import LocalUser, Sessions


def install(app: FastAPI, service: Service, local: LocalUser | None) -> None:
    """Add the pages. Raises InputError if sessions cannot be signed."""
    app.state.room = Room(
        environment=make_environment("curation.web", "curation.report"),
        assets=assets.Assets.read(),
        sessions=Sessions(service.engine, service.settings, local),
    )
    app.add_exception_handler(404, lost)
    agreement.install(app, service.engine)
    overview.install(app, service)
    for room in (assets, login, overview, queue, sample, decide, decisions, agreement, exports, scorers):
        app.include_router(room.router)
