"""Tokens: who may talk to the service, and about what.

A token is shown once, when it is made. The ledger keeps its SHA-256: of 256 random bits, nobody finds the token
by that.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from datetime import datetime
from typing import Literal, NamedTuple, get_args

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from curation.errors import InputError, LedgerError
from curation.ledger import bulk, clock
from curation.ledger.engine import writing
from curation.ledger.tables import tokens

Scope = Literal["ingest", "read", "metrics", "review"]
"""`ingest`: add samples. `read`: look at everything, metrics too. `metrics`: these alone. `review`: read the pages
and decide on samples there, under the token's name."""

SCOPES: tuple[Scope, ...] = get_args(Scope)

PREFIX = "cur_"
"""What every token begins with, so that people and secret scanners know one when they see it."""

_MAX_NAME = 100


class Token(NamedTuple):
    """A token as the ledger knows it; `revoked_at` is None while it is live."""

    id: int
    name: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


def create_token(engine: Engine, name: str, scopes: Collection[Scope]) -> str:
    """Make a token and return it: nothing will show it again.

    Raises InputError for a bad name or scope, LedgerError if the name was ever given before.
    """
    if not name.strip() or not name.isprintable() or len(name) > _MAX_NAME:
        raise InputError(
            f"{name!r:.40} is not a name for a token", f"Use 1 to {_MAX_NAME} printable characters."
        )
    wanted = [scope for scope in SCOPES if scope in scopes]
    if not wanted or set(scopes) - set(SCOPES):
        raise InputError("a token needs scopes that there are", f"Scopes are {', '.join(SCOPES)}.")
    token = PREFIX + secrets.token_urlsafe(32)
    row = {"name": name, "token_hash": _hash(token), "scopes": " ".join(wanted)}
    with writing(engine) as conn:
        new = bulk.insert(conn, tokens).values(row).on_conflict_do_nothing(index_elements=["name"])
        made = conn.execute(new.returning(tokens.c.id)).scalar_one_or_none()
    if made is None:
        raise LedgerError(
            f"there is a token named {name!r} already",
            "Choose another name. Revoked tokens keep theirs, so that a name never means two.",
        )
    return token


def find_token(conn: Connection, token: str) -> Token | None:
    """The live token that this is, or None."""
    if not token.startswith(PREFIX):
        return None
    hashed = _hash(token)
    row = conn.execute(select(tokens).where(tokens.c.token_hash == hashed)).one_or_none()
    # The search by hash tells a guesser nothing of the token; the comparison takes the same time for all.
    if row is None or not hmac.compare_digest(row.token_hash, hashed) or row.revoked_at is not None:
        return None
    return _token(row)


def live_token(conn: Connection, token_id: int) -> Token | None:
    """The token of that number, None once it is revoked."""
    query = select(tokens).where(tokens.c.id == token_id, tokens.c.revoked_at.is_(None))
    row = conn.execute(query).one_or_none()
    return _token(row) if row is not None else None


def list_tokens(conn: Connection) -> list[Token]:
    """All tokens ever made, revoked ones included, oldest first."""
    return [_token(row) for row in conn.execute(select(tokens).order_by(tokens.c.id))]


def revoke_token(engine: Engine, name: str) -> None:
    """End a token, at once and for good. Raises LedgerError if no live token has that name."""
    ended = tokens.update().where(tokens.c.name == name, tokens.c.revoked_at.is_(None))
    with writing(engine) as conn:
        if conn.execute(ended.values(revoked_at=clock.in_seconds(0.0))).rowcount:
            return
    raise LedgerError(f"there is no live token named {name!r}", "`curation token list` lists them.")


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    return Token(row.id, row.name, tuple(row.scopes.split()), row.created_at, row.revoked_at)


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()
