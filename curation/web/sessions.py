"""Who is at the other end: log-in by token or by the code that `curation serve` prints, kept in a signed cookie.

The cookie names the token and holds no rights of its own: these are read from the ledger at every request, so that
revoking a token ends its sessions at once.
"""

from __future__ import annotations

import getpass
import hmac
import os
import secrets
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response

from curation.errors import InputError
from curation.ledger.engine import reading
from curation.ledger.tokens import SCOPES, Token, live_token
from curation.settings import Settings

HOURS = 12
"""How long a log-in lasts."""

_KEY_FILE = "session-key"
_LOCAL = 0  # what a cookie names instead of a token: no token has this number


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is logged in. `csrf` must come back with every form; `token_id` is None for the local user."""

    name: str
    scopes: frozenset[str]
    csrf: str
    token_id: int | None

    @property
    def may_decide(self) -> bool:
        return "review" in self.scopes


@dataclass(slots=True)
class LocalUser:
    """Whoever started the service and sees its terminal: a code for one log-in, with every right while it runs."""

    name: str = field(default_factory=lambda: _user_name())
    code: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    process: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    _spent: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, code: str) -> bool:
        """Whether this is the code, which is spent by that."""
        same = hmac.compare_digest(code.encode(errors="replace"), self.code.encode())
        with self._lock:
            good = same and not self._spent
            self._spent = self._spent or same
        return good


class Sessions:
    """Cookies of those who are logged in."""

    def __init__(self, engine: Engine, settings: Settings, local: LocalUser | None) -> None:
        """Raises InputError if the key that cookies are signed with can be neither read nor made."""
        self._engine = engine
        self._signer = URLSafeTimedSerializer(_key(settings), salt="curation session")
        self.local = local

    def begin(self, request: Request, response: Response, token: Token | None) -> None:
        """Log somebody in: the owner of a token, or with None the local user."""
        csrf = secrets.token_urlsafe(24)
        process = self.local.process if token is None and self.local else ""
        value = self._signer.dumps([token.id if token else _LOCAL, csrf, process])
        assert isinstance(value, str)
        response.set_cookie(
            cookie_name(request),
            value,
            max_age=HOURS * 3600,
            path="/",
            secure=_is_https(request),
            httponly=True,
            samesite="lax",
        )

    def end(self, request: Request, response: Response) -> None:
        """Take the cookie away from the browser."""
        response.delete_cookie(
            cookie_name(request), path="/", secure=_is_https(request), httponly=True, samesite="lax"
        )

    def visitor(self, request: Request) -> Visitor | None:
        """Who the cookie stands for; None without one, or if it is forged, too old, or its token is revoked."""
        try:
            value: Any = self._signer.loads(
                request.cookies.get(cookie_name(request), ""), max_age=HOURS * 3600
            )
            token_id, csrf, process = value
        except (BadSignature, ValueError, TypeError):
            return None
        if token_id == _LOCAL:
            if self.local is None or not hmac.compare_digest(process, self.local.process):
                return None  # the service has been started anew
            return Visitor(self.local.name, frozenset(SCOPES), csrf, None)
        with reading(self._engine) as conn:
            token = live_token(conn, token_id)
        return Visitor(token.name, frozenset(token.scopes), csrf, token.id) if token else None


def cookie_name(request: Request) -> str:
    """Browsers tell hosts apart but not ports: two services on one computer need two names."""
    if _is_https(request):
        return "__Host-curation"  # which browsers take over TLS only, and from this very host
    return f"curation-{request.url.port or 80}"


def _is_https(request: Request) -> bool:
    return request.url.scheme == "https"


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "local user"


def _key(settings: Settings) -> str:
    """The setting, or what the file in `home` holds, which is made once and readable by its owner only."""
    if settings.serve_secret is not None:
        return settings.serve_secret.get_secret_value()
    path = settings.home / _KEY_FILE
    try:
        if not path.exists():
            _make_key(path)
        return path.read_text()
    except OSError as error:
        raise InputError(
            f"the key of the pages' sessions, {path}, cannot be used: {error.strerror}",
            "Make the folder writable, or set CURATION_SERVE_SECRET to a long random text.",
        ) from None


def _make_key(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
    try:
        with suppress(FileExistsError):  # another service was faster: its key counts
            os.link(new, path)
    finally:
        new.unlink()
