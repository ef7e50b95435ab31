"""In and out. Asking for a page changes nothing here either: log-in and log-out are forms."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from curation.ledger.tokens import Token
from curation.service.access import Access
from curation.service.errors import RequestError
from curation.web.pages import PageRoute, Room, Sent, form_fields, go_to, render, safe_next

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/login")
def form(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    """Where to log in. What follows # in the printed address is a code that never leaves the browser but by form."""
    room: Room = request.app.state.room
    if room.sessions.visitor(request):
        return go_to(safe_next(next))
    return _form(request, next)


@router.post("/login")
async def login(request: Request, fields: Annotated[Mapping[str, str], Depends(form_fields)]) -> Response:
    return await run_in_threadpool(_login, request, fields)


@router.post("/logout")
def logout(form: Sent) -> Response:
    room: Room = form.page.request.app.state.room
    response = go_to("/login")
    room.sessions.end(form.page.request, response)
    return response


def _login(request: Request, fields: Mapping[str, str]) -> Response:
    room: Room = request.app.state.room
    secret, address = fields.get("token", "").strip(), safe_next(fields.get("next", "/"))
    token: Token | None = None
    if not (room.sessions.local and room.sessions.local.take(secret)):
        access: Access = request.app.state.service.access
        try:
            token = access.recognise(secret, request.client.host if request.client else "")
        except RequestError as error:
            if error.status != 401:
                raise
            return _form(request, address, "This token is not known, or it was revoked.", 401)
        if not set(token.scopes) & {"read", "review"}:
            return _form(request, address, "This token may not read: its scopes are for programs only.", 403)
    response = go_to(address)
    room.sessions.begin(request, response, token)
    return response


def _form(request: Request, next: str, problem: str | None = None, status: int = 200) -> Response:
    room: Room = request.app.state.room
    return render(
        request,
        "login.html.j2",
        status,
        next=safe_next(next),
        problem=problem,
        local=room.sessions.local is not None,
    )
