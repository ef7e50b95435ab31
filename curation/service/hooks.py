"""Webhooks of labeling platforms. A hook is only a bell: it says "look at this target", and nothing it carries counts.

What was decided is read from the platform itself, so a hook that is forged, doubled, late or lost does no harm.
"""

from __future__ import annotations

import secrets
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Path, Request, Response
from starlette.background import BackgroundTask

from curation.ledger import targets
from curation.ledger.engine import reading
from curation.platforms.hooks import is_genuine
from curation.service.context import Here, Service
from curation.service.errors import RequestError, answers

router = APIRouter(tags=["platforms"])

BODY_CAP = 16 * 2**20
"""Longest body in bytes: an event of Argilla carries a whole record."""


@router.post(
    "/v1/hooks/{target}", status_code=204, responses=answers(401, 413, 422, 429, 503), summary="Ring"
)
async def ring(
    target: Annotated[str, Path(description="Name of the target.", max_length=200)],
    request: Request,
    service: Here,
) -> Response:
    """Have a target looked at now. Labeling platforms call it, with the secret they got from `curation connect`.

    Answers at once; what was decided is read from the platform afterwards.
    """
    body = await _body(request)
    await run_sync(_note, service, target, dict(request.headers), body, request.client)
    # The platform waits for the answer, and with it the annotator: the workers are rung afterwards.
    return Response(status_code=204, background=BackgroundTask(service.ring))


def _note(service: Service, name: str, headers: dict[str, str], body: bytes, client: object) -> None:
    with reading(service.engine) as conn:
        hook = targets.find_hook(conn, name)
    # Without such a target the check is made all the same: the time it takes tells nobody which targets there are.
    platform, secret = (hook.platform, hook.secret) if hook else ("label-studio", secrets.token_urlsafe())
    if not is_genuine(platform, secret, headers, body) or hook is None:
        service.access.refuse(str(getattr(client, "host", "")))
        raise RequestError(
            401,
            "no such hook, or not from its platform",
            "Connect the target again with --webhook.",
            {"WWW-Authenticate": "Webhook"},
        )
    targets.ring(service.engine, hook.target_id)


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_CAP:
            raise RequestError(413, f"the body is longer than {BODY_CAP // 2**20} MiB", "Send less.")
    return body
