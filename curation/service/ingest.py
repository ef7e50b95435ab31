"""POST samples: a stream of rows into the ledger, committed as it goes."""

from __future__ import annotations

import io
from functools import partial
from typing import Annotated, Any, BinaryIO, cast

from anyio import to_thread
from fastapi import APIRouter, Depends, Path, Query, Request

from curation.errors import InputError
from curation.ledger.samples import add_samples
from curation.samples.json_array import array_rows
from curation.samples.layouts import LAYOUTS
from curation.samples.reading import named_layout
from curation.samples.rows import jsonl_rows
from curation.samples.sample import Train
from curation.service.access import allows
from curation.service.body import JSON_CAP, Body, json_array
from curation.service.context import Here, Service
from curation.service.errors import RequestError, answers
from curation.service.intake import Intake
from curation.service.schemas import Ingested, Reject

AT_ONCE = 8
"""Ingests at work at one time: each has a thread, at times a connection, and a JSON body in memory."""

_JSON, _LINES = "application/json", "application/x-ndjson"
_BUFFER = 2**18

_ROW: dict[str, Any] = {
    "type": "object",
    "example": {"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]},
}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        _JSON: {
            "schema": {
                "oneOf": [
                    {"type": "array", "items": _ROW},
                    {
                        "type": "object",
                        "properties": {"samples": {"type": "array", "items": _ROW}},
                        "required": ["samples"],
                        "additionalProperties": False,
                    },
                ]
            }
        },
        _LINES: {"schema": {"type": "string", "description": "One row, a JSON object, per line."}},
    },
}

router = APIRouter(tags=["samples"])

DatasetName = Annotated[
    str, Path(min_length=1, max_length=200, pattern="^[^/]+$", description="Printable characters.")
]


@router.post(
    "/v1/datasets/{name}/samples",
    dependencies=[Depends(allows("ingest"))],
    responses=answers(400, 401, 403, 404, 408, 413, 415, 422, 429, 503),
    openapi_extra={"requestBody": _BODY},
    summary="Add samples to a dataset",
)
async def add(
    request: Request,
    service: Here,
    name: DatasetName,
    layout: Annotated[
        str | None, Query(description=f"One of {', '.join(LAYOUTS)}. Default: told from the first rows.")
    ] = None,
    train: Annotated[Train, Query(description="Assistant turns that will be trained on.")] = "last",
    source: Annotated[
        str | None,
        Query(
            min_length=1,
            max_length=500,
            description="The file these rows are lines of. Without it a sample counts once, however often it "
            "is sent.",
        ),
    ] = None,
) -> Ingested:
    """Rows in any layout that `curation` reads. The dataset is made if it is new.

    `application/x-ndjson` is read as a stream of any length; `application/json` is limited to 32 MiB. Good
    rows are kept whatever the others are. What was read when a request breaks off stays, and sending the
    same again changes nothing: after any error, send all of it once more.
    """
    kind = _media_type(request)
    if source is not None and not source.isprintable():
        raise InputError("the source is not a name", "Use printable characters.")
    most = service.settings.serve_max_body
    body = Body(request, min(most, JSON_CAP) if kind == _JSON else most)
    if service.ingests.available_tokens < 1:
        raise RequestError(
            503, f"{AT_ONCE} ingests are at work", "Send it again in a moment.", {"Retry-After": "1"}
        )
    work = partial(_ingest, service, body, kind, name, layout, train, source)
    return await to_thread.run_sync(work, limiter=service.ingests)


def _media_type(request: Request) -> str:
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        # A few kilobytes can unfold to gigabytes.
        raise RequestError(415, "a compressed body is not taken", "Send it without Content-Encoding.")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in (_JSON, _LINES):
        return kind
    raise RequestError(415, "the body's media type is not taken", f"Use Content-Type: {_JSON} or {_LINES}.")


def _ingest(
    service: Service, body: Body, kind: str, name: str, layout: str | None, train: Train, source: str | None
) -> Ingested:
    """In a thread of its own: read, convert and commit. Workers are rung for whatever was kept."""
    named = None if layout is None else named_layout(layout)
    if kind == _JSON:
        rows = array_rows(json_array(body))
    else:
        rows = jsonl_rows(cast("BinaryIO", io.BufferedReader(body, _BUFFER)))
    intake = Intake(rows, named, train, source)
    intake.look()  # first, so that a body of no use makes no dataset
    kept = 0

    def on_progress(count: int) -> None:
        nonlocal kept
        kept = count

    try:
        added = add_samples(service.engine, name, intake, on_progress=on_progress)
    finally:
        if kept:
            service.ring()
    return Ingested(
        dataset=name,
        layout=intake.layout.name if intake.layout else None,
        rows=intake.rows,
        new=added.new,
        duplicates=added.duplicates,
        unchanged=added.unchanged,
        rejected=intake.rejected,
        rejects=[Reject(line=line, reason=reason) for line, reason in sorted(intake.rejects)],
    )
