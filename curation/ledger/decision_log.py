"""Decisions of all datasets, the latest first, a page at a time; who decided; and which samples may be in dispute."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Row, select

from curation.errors import InputError
from curation.ledger.decisions import Decision, Verdict
from curation.ledger.tables import datasets, decisions

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class Logged(NamedTuple):
    """A decision and the dataset it is of."""

    id: int
    dataset_id: int
    dataset: str
    decision: Decision


class LogPage(NamedTuple):
    """`next_cursor` asks for what was decided before; None: this was the last page."""

    items: tuple[Logged, ...]
    next_cursor: str | None


def latest_decisions(
    conn: Connection,
    limit: int = 50,
    after: str | None = None,
    dataset_id: int | None = None,
    reviewer: str | None = None,
    verdict: Verdict | None = None,
) -> LogPage:
    """The next `limit` decisions after the cursor by when they were made, the latest first, that meet all filters.

    Raises InputError if the cursor is none.
    """
    columns = (decisions.c[name] for name in ("sample_id", *Decision._fields[1:]))
    query = select(decisions.c.id, decisions.c.dataset_id, datasets.c.name, *columns).join_from(
        decisions, datasets, datasets.c.id == decisions.c.dataset_id
    )
    wanted = {
        decisions.c.dataset_id: dataset_id,
        decisions.c.reviewer: reviewer,
        decisions.c.verdict: verdict,
    }
    query = query.where(*(column == value for column, value in wanted.items() if value is not None))
    if after:
        at, number = _decode(after)
        # The first condition says where in the index to begin, which databases do not see in the second.
        before = sa.or_(decisions.c.decided_at < at, decisions.c.id < number)
        query = query.where(decisions.c.decided_at <= at, before)
    query = query.order_by(decisions.c.decided_at.desc(), decisions.c.id.desc()).limit(limit + 1)
    found = [_logged(row) for row in conn.execute(query)]
    more = len(found) > limit
    return LogPage(tuple(found[:limit]), _encode(found[limit - 1]) if more else None)


def reviewers(conn: Connection) -> dict[str, int]:
    """How many decisions each reviewer made, withdrawals included, by name."""
    query = select(decisions.c.reviewer, sa.func.count().label("n")).group_by(decisions.c.reviewer)
    return {row.reviewer: row.n for row in conn.execute(query.order_by(decisions.c.reviewer))}


def contested(conn: Connection, dataset_id: int, after_pk: int, limit: int) -> list[int]:
    """The next `limit` samples after one, in order of ingest, on which more than one reviewer decided and of whose
    decisions some approve and some reject. Some of these may have been withdrawn or replaced since."""
    said = sa.func.count(sa.case((decisions.c.verdict != "withdraw", decisions.c.verdict)).distinct())
    query = (
        select(decisions.c.sample_id)
        .where(decisions.c.dataset_id == dataset_id, decisions.c.sample_id > after_pk)
        .group_by(decisions.c.sample_id)
        .having(said > 1, sa.func.count(decisions.c.reviewer.distinct()) > 1)
        .order_by(decisions.c.sample_id)
        .limit(limit)
    )
    return list(conn.execute(query).scalars())


def _logged(row: Row[Any]) -> Logged:
    decision: tuple[Any, ...] = tuple(row)[3:]
    return Logged(row.id, row.dataset_id, row.name, Decision(*decision))


def _encode(last: Logged) -> str:
    return f"{(last.decision.decided_at - _EPOCH) // _TICK}-{last.id}"


def _decode(cursor: str) -> tuple[datetime, int]:
    at, _, number = cursor.partition("-")
    try:
        moment, last = _EPOCH + int(at) * _TICK, int(number)
        if 0 <= last < 2**63:
            return moment, last
    except (ValueError, OverflowError):
        pass
    raise InputError("the page's cursor is not one that this list gave", "Begin again at the first page.")
