"""What goes wrong, as HTTP: `{"error": ..., "next": ...}` with a status, never with a detail of the inside."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from curation.errors import CurationError, InputError, LedgerError, SampleError
from curation.ledger.engine import outages
from curation.ledger.migrate import driver_message
from curation.service.schemas import Error

_log = logging.getLogger(__name__)

CLIENT_GONE = 499
"""What the log shows for a request whose sender hung up; nobody receives it."""

_MEANINGS = {
    400: "The body is not JSON of the described form.",
    401: "No token, or none that is valid.",
    403: "The token lacks the scope.",
    404: "There is nothing of that name, or more than one.",
    408: "The body stopped arriving. Rows before that are kept.",
    413: "The body is too large. Rows of a streamed body before that are kept.",
    415: "Neither application/json nor application/x-ndjson, or compressed.",
    422: "A parameter, or the layout of the rows, cannot be used.",
    429: "Too many requests; Retry-After says when to go on.",
    503: "The database cannot be reached, or the service is busy.",
}


class RequestError(CurationError):
    """A request that is not taken, with the HTTP status and headers that say so."""

    def __init__(
        self, status: int, message: str, hint: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message, hint)
        self.status = status
        self.headers = headers


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of these error statuses for a route."""
    return {status: _documented(status) for status in statuses}


def error_response(
    status: int, message: str, hint: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse({"error": message, "next": hint}, status, headers=headers)


def install(app: FastAPI) -> None:
    """Have every error answered in the one form."""
    for kind in (CurationError, RequestValidationError, HTTPException, *outages()):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(ClientDisconnect, _client_gone)


def _documented(status: int) -> dict[str, Any]:
    documented: dict[str, Any] = {"model": Error, "description": _MEANINGS[status]}
    if status == 401:
        documented["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    if status == 429:
        documented["headers"] = {"Retry-After": {"schema": {"type": "integer"}}}
    return documented


def as_request_error(error: Exception) -> RequestError:
    """What went wrong, as an answer to whoever asked; an outage's details are logged."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, InputError | SampleError):
        return RequestError(422, error.message, error.hint)
    # With a driver's error behind it the database failed; without, what the request names is not there.
    if isinstance(error, LedgerError) and error.__cause__ is None:
        return RequestError(404, error.message, error.hint)
    if isinstance(error, RequestValidationError):
        # Where and why, without the value: it may be anything.
        wrong = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()[:5]]
        return RequestError(422, "; ".join(wrong), "Parameters are described in /openapi.json.")
    if isinstance(error, HTTPException):
        hint = "Addresses are described in /openapi.json."
        return RequestError(error.status_code, error.detail.lower(), hint, error.headers)
    says = error.message if isinstance(error, CurationError) else driver_message(error)
    _log.error("the ledger failed: %s", says)
    # Where the database is and what it said is for the operator, who reads the log.
    return RequestError(503, "the ledger's database did not answer", "Try again later.", {"Retry-After": "5"})


async def _answer(_: Request, error: Exception) -> Response:
    told = as_request_error(error)
    return error_response(told.status, told.message, told.hint, told.headers)


async def _client_gone(_: Request, error: Exception) -> Response:
    return Response(status_code=CLIENT_GONE)
