"""What every page is made with: the visitor, the ledger, the layout, and errors as pages."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from anyio.to_thread import run_sync
from fastapi import Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from jinja2 import Environment
from starlette.exceptions import HTTPException

from curation.errors import CurationError
from curation.ledger.engine import outages
from curation.service.context import Service
from curation.service.errors import RequestError, as_request_error, error_response
from curation.web.assets import Assets
from curation.web.navigation import NAV
from curation.web.sessions import Sessions, Visitor

FORM_CAP = 64 * 1024
"""Longest body of a form in bytes."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
    ),
    "X-Frame-Options": "DENY",
    # With no-referrer browsers would send forms with the origin "null", which no check can tell from a stranger's.
    "Referrer-Policy": "same-origin",
}


@dataclass(frozen=True, slots=True)
class Room:
    """What the pages share, made once for the process."""

    environment: Environment
    assets: Assets
    sessions: Sessions


@dataclass(frozen=True, slots=True)
class Page:
    """A page for somebody who is logged in."""

    request: Request
    service: Service
    visitor: Visitor

    def render(self, template: str, status: int = 200, **values: Any) -> Response:
        return render(self.request, template, status, visitor=self.visitor, **values)


@dataclass(frozen=True, slots=True)
class Submitted:
    """A form that was sent by somebody who may, from a page of ours."""

    page: Page
    fields: Mapping[str, str]


def render(
    request: Request, template: str, status: int = 200, visitor: Visitor | None = None, **values: Any
) -> Response:
    """A template as a page, within the layout. `dataset` among the values is kept by the navigation."""
    room: Room = request.app.state.room
    values = {"dataset": None, "nav": NAV, "here": request.url.path, "asset": room.assets.url, **values}
    html = room.environment.get_template(template).render(visitor=visitor, link=link, **values)
    return HTMLResponse(html, status, headers=HEADERS)


def link(path: str, **query: object) -> str:
    """An address on this service; what is None or empty is left out of the query, lists are repeated."""
    pairs = {name: value for name, value in query.items() if value not in (None, "", [], ())}
    return f"{path}?{urlencode(pairs, doseq=True)}" if pairs else path


def go_to(path: str, **query: object) -> Response:
    """What answers a form: the browser asks for that page, so that going back or reloading sends nothing twice."""
    return RedirectResponse(link(path, **query), status_code=303, headers=HEADERS)


def safe_next(address: str) -> str:
    """The address if it is one of this service, or else the first page: nobody is led elsewhere after log-in."""
    parts = urlsplit(address)
    inside = not parts.scheme and not parts.netloc and address.startswith("/") and address[1:2] not in "/\\"
    return address if address == "/" or (inside and address.isprintable() and "\\" not in address) else "/"


def _page(request: Request) -> Page:
    """Raises RequestError: 401 without a session, 403 if it may not read, 429."""
    service: Service = request.app.state.service
    room: Room = request.app.state.room
    visitor = room.sessions.visitor(request)
    if visitor is None:
        raise RequestError(401, "you are not logged in", "Log in.")
    request.state.visitor = visitor
    if visitor.token_id is not None:
        service.access.count(visitor.token_id)
    if not visitor.scopes & {"read", "review"}:
        raise RequestError(
            403,
            "the token that you logged in with may not read",
            "Log in with one of scope read or review: curation token create NAME --scope review",
        )
    return Page(request, service, visitor)


Reading = Annotated[Page, Depends(_page)]
"""A page for whoever may read, as a parameter of a route."""


async def form_fields(request: Request) -> Mapping[str, str]:
    """The fields of a form sent by a page of ours. Raises RequestError: 403, 413, 415."""
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise RequestError(
            403, "the form was not sent by a page of this service", "Go back and send it there."
        )
    if request.headers.get("content-type", "").partition(";")[0] != "application/x-www-form-urlencoded":
        raise RequestError(415, "the body is no form", "Send it from the page.")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > FORM_CAP:
            raise RequestError(413, f"the form is longer than {FORM_CAP // 1024} KiB", "Write less.")
    try:
        return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise RequestError(400, "the body is no form", "Send it from the page.") from None


def _submitted(page: Reading, fields: Annotated[Mapping[str, str], Depends(form_fields)]) -> Submitted:
    """Raises RequestError (403) unless the form carries the session's own token."""
    if not hmac.compare_digest(fields.get("csrf", "").encode(errors="replace"), page.visitor.csrf.encode()):
        raise RequestError(403, "the form does not belong to this session", "Load the page again and repeat.")
    return Submitted(page, fields)


def _deciding(form: Annotated[Submitted, Depends(_submitted)]) -> Submitted:
    if not form.page.visitor.may_decide:
        raise RequestError(
            403,
            "the token that you logged in with may only read",
            "Decisions need one of scope review: curation token create NAME --scope review",
        )
    return form


Sent = Annotated[Submitted, Depends(_submitted)]
"""A form of anybody who is logged in."""

Deciding = Annotated[Submitted, Depends(_deciding)]
"""A form that only reviewers may send."""


class PageRoute(APIRoute):
    """A route whose errors are pages; who is not logged in is sent to do that, and back."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except (CurationError, RequestValidationError, HTTPException, *outages()) as error:
                return await run_sync(_error_page, request, error)

        return answer


async def lost(request: Request, error: Exception) -> Response:
    """The answer where no route is, as a page to whoever asked for pages."""
    told = as_request_error(error)
    if "text/html" in request.headers.get("accept", ""):
        wrong = RequestError(told.status, "there is no such page", "Start from the overview.", told.headers)
        return await run_sync(_error_page, request, wrong)
    return error_response(told.status, told.message, told.hint, told.headers)


def _error_page(request: Request, error: Exception) -> Response:
    told = as_request_error(error)
    if told.status == 401:
        asked = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        return go_to("/login", next=asked if request.method == "GET" and asked != "/" else None)
    visitor = getattr(request.state, "visitor", None)
    response = render(request, "error.html.j2", told.status, visitor, message=told.message, hint=told.hint)
    response.headers.update(told.headers or {})
    return response
