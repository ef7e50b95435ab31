"""Around every request: security headers, one line of log, one count, and an answer to the unexpected."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from curation.service.errors import error_response
from curation.service.metrics import Requests

_log = logging.getLogger(__name__)

_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_FRAMES = 6


class Envelope:
    """ASGI middleware. Addresses, bodies, headers and messages of exceptions stay out of the log."""

    def __init__(self, app: ASGIApp, requests: Requests) -> None:
        self._app = app
        self._requests = requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0
        start = time.perf_counter()

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = list(message.get("headers", ()))
                given = {name.lower() for name, _ in own}  # pages have policies of their own
                message["headers"] = own + [header for header in _HEADERS if header[0] not in given]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        except Exception as error:
            _log.error("unexpected %s at %s", type(error).__name__, _where(error))
            if not status:
                answer = error_response(500, "the service failed", "The operator's log says where.")
                await answer(scope, receive, sending)
        finally:
            self._count(scope, status, time.perf_counter() - start)

    def _count(self, scope: MutableMapping[str, Any], status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = getattr(scope.get("route"), "path_format", "(none)")
        self._requests.observe(method, route, status, seconds)
        _log.info("%s %s %d %.0f ms", method, route, status, 1000 * seconds)


def _where(error: Exception) -> str:
    """The innermost lines of code, without what the exception says: that may quote a sample."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames)
