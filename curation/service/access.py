"""Who may ask, and how often: bearer tokens, their scopes, and limits per token and per address."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from sqlalchemy import Engine

from curation.errors import InputError
from curation.ledger.engine import reading
from curation.ledger.tokens import Scope, Token, find_token
from curation.service.errors import RequestError

FAILURES = "20/minute"
"""Requests without a valid token that one address may make before it hears 429 instead of 401."""


class Access:
    """Decides on requests; counts are kept in this process and gone with it."""

    def __init__(self, engine: Engine, rate: str) -> None:
        """`rate` as in "600/minute", for each token. Raises InputError if it is not such."""
        self._engine = engine
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._failures = parse(FAILURES)
        try:
            self._rate = parse(rate)
        except ValueError:
            raise InputError(
                f"serve_rate is {rate!r}", 'Give a number per second, minute or hour, such as "600/minute".'
            ) from None

    def admit(self, secret: str | None, address: str, scopes: tuple[Scope, ...]) -> None:
        """Let a request pass that has a live token with one of the scopes. Raises RequestError: 401, 403 or 429.

        A valid token passes from any address, whatever others tried from there: nobody can lock it out.
        """
        token = self.recognise(secret, address)
        self.count(token.id)
        if not set(scopes) & set(token.scopes):
            raise RequestError(
                403, "the token lacks the scope", f"This needs a token with scope {' or '.join(scopes)}."
            )

    def recognise(self, secret: str | None, address: str) -> Token:
        """The live token that this is. Raises RequestError: 401, or 429 after many failures from the address."""
        token = None
        if secret is not None:
            with reading(self._engine) as conn:  # every time, so that a revoked token ends at once
                token = find_token(conn, secret)
        if token is None:
            self.refuse(address)
            # The same for no token, a wrong one and a revoked one.
            raise RequestError(
                401,
                "a valid token is needed",
                "Send it as: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": "Bearer"},
            )
        return token

    def count(self, token_id: int) -> None:
        """Count a request with a token. Raises RequestError (429) if there were too many."""
        self._count(self._rate, "token", str(token_id))

    def refuse(self, address: str) -> None:
        """Count a request that was not from whom it should be. Raises RequestError (429) if there were many."""
        self._count(self._failures, "address", address)

    def _count(self, item: RateLimitItem, kind: str, who: str) -> None:
        if self._limiter.hit(item, kind, who):
            return
        reset = self._limiter.get_window_stats(item, kind, who).reset_time
        wait = max(1, math.ceil(reset - time.time()))
        raise RequestError(429, "too many requests", f"Go on in {wait} s.", {"Retry-After": str(wait)})


_bearer = HTTPBearer(auto_error=False, description="A token from `curation token create`.")


def allows(*scopes: Scope) -> Callable[..., None]:
    """A dependency that lets only tokens with one of these scopes pass."""

    def check(
        request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
    ) -> None:
        access: Access = request.app.state.service.access
        address = request.client.host if request.client else ""
        access.admit(bearer.credentials if bearer else None, address, scopes)

    return check
