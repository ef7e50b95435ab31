"""For those who run the service: is it alive, is it ready, and what is there to count."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Response
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from curation.ledger import migrate
from curation.service.access import allows
from curation.service.context import Here
from curation.service.errors import RequestError, answers
from curation.service.metrics import CONTENT_TYPE
from curation.service.schemas import Healthy

router = APIRouter(tags=["operation"])


@router.get("/healthz", summary="Is the process alive?")
async def healthz() -> Healthy:
    """Asks nobody, so that a database that is down gets no service restarted."""
    return Healthy(status="ok")


@router.get("/readyz", responses=answers(503), summary="Can requests be answered?")
def readyz(service: Here) -> Healthy:
    """Whether the database answers and has this version's tables."""
    if reason := service.trouble():
        raise RequestError(503, reason, "The service goes on by itself once that is mended.")
    return Healthy(status="ok")


@router.get(
    "/metrics",
    dependencies=[Depends(allows("metrics", "read"))],
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **answers(401, 403, 429, 503),
    },
    summary="Metrics for Prometheus",
)
def metrics(service: Here) -> Response:
    """Needs a token with scope `metrics` or `read`: it tells the names of datasets."""
    return Response(service.requests.exposition(service.fleet()), headers={"Content-Type": CONTENT_TYPE})


def trouble(engine: Engine, head: str) -> str | None:
    """Why the ledger cannot be used, None if it can; without the database's own words, which are not for all."""
    try:
        found = migrate.revision(engine)
    except SQLAlchemyError:
        return "the database does not answer"
    return None if found == head else "the ledger does not have this version's tables"
