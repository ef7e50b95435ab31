"""The database's clock means the same on both engines, to the millisecond."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from curation.ledger.clock import in_seconds, seconds_since
from curation.ledger.fleet import show_worker
from curation.ledger.leases import claim, renew
from curation.ledger.tables import UtcTime, backlog, workers
from tests.ledger.builders import HOLDER, LONG, to_score


def now(conn: Connection) -> datetime:
    return conn.execute(select(in_seconds(0.0))).scalar_one()


def test_now_is_what_the_database_says(ledger: Engine) -> None:
    with ledger.connect() as conn:
        before = conn.execute(select(sa.func.current_timestamp(type_=UtcTime()))).scalar_one()
        found = now(conn)
        assert found.tzinfo is UTC
        # SQLite's CURRENT_TIMESTAMP knows whole seconds only.
        assert before.replace(microsecond=0) <= found
        assert seconds_since(in_seconds(0.0)).type.python_type is float
        assert conn.execute(select(found <= in_seconds(0.0))).scalar_one()


def test_now_moves_on_within_a_transaction(ledger: Engine) -> None:
    with ledger.begin() as conn:
        first = now(conn)
        assert any(now(conn) > first for _ in range(10_000))
        later = conn.execute(select(seconds_since(sa.literal(first, UtcTime())))).scalar_one()
        assert later > 0


@pytest.mark.parametrize("seconds", [0.25, -0.25, 0.001, 12, 86_400.5, -86_400.5, 1e7])
def test_a_shift_is_exact_to_the_millisecond(ledger: Engine, seconds: float) -> None:
    with ledger.connect() as conn:
        # The second is asked for first, so that a clock that moves in between makes it no longer.
        then, start = conn.execute(select(in_seconds(seconds), in_seconds(0.0))).one()
        assert then - start <= timedelta(seconds=seconds, milliseconds=1)
        start, then = conn.execute(select(in_seconds(0.0), in_seconds(seconds))).one()
        assert then - start >= timedelta(seconds=seconds, milliseconds=-1)
        left = conn.execute(select(seconds_since(in_seconds(seconds)))).scalar_one()
        assert left >= -seconds - 0.001


def test_moments_are_ordered_across_the_ends_of_seconds_and_minutes(ledger: Engine) -> None:
    """On SQLite moments are texts: one written in another form would compare by its letters."""
    shifts = [i / 1000 for i in range(0, 1100, 2)] + [float(i) for i in range(2, 70)]
    with ledger.connect() as conn:
        moments = list(conn.execute(select(*(in_seconds(shift) for shift in shifts))).one())
        assert all(a < b for a, b in pairwise(moments))
        pairs = [in_seconds(a) < in_seconds(b) for a, b in pairwise(shifts)]
        assert all(conn.execute(select(*pairs)).one())
        stored = [sa.literal(moment, UtcTime()) for moment in moments[::50]]
        assert all(conn.execute(select(*(a < b for a, b in pairwise(stored)))).one())
        assert not any(conn.execute(select(*(a > b for a, b in pairwise(stored)))).one())


def test_a_stored_moment_comes_back_as_it_was(ledger: Engine) -> None:
    _, scorer_id, _ = to_score(ledger, "a")
    lease = claim(ledger, scorer_id, HOLDER, LONG)
    assert lease
    mine = backlog.c.token == lease.token
    stored = select(backlog.c.leased_until).where(mine)
    for seconds in (0.25, 30, LONG):
        renew(ledger, lease, seconds)
        with ledger.connect() as conn:
            moment = conn.execute(stored).scalar_one()
            assert moment.tzinfo is UTC
            same = conn.execute(stored.where(backlog.c.leased_until == moment)).scalar_one_or_none()
            assert same == moment
            assert conn.execute(stored.where(backlog.c.leased_until < moment)).all() == []
            assert moment <= conn.execute(select(in_seconds(seconds))).scalar_one()
            since = conn.execute(select(seconds_since(backlog.c.leased_until)).where(mine)).scalar_one()
            assert since >= -seconds - 0.001


def test_seconds_since_a_moment_are_those_between_two_moments(ledger: Engine) -> None:
    show_worker(ledger, "w")
    with ledger.begin() as conn:
        for seconds in (0.125, 90.0, 1e6):
            conn.execute(workers.update().values(seen_at=in_seconds(-seconds)))
            seen = conn.execute(select(workers.c.seen_at)).scalar_one()
            start = now(conn)
            since = conn.execute(select(seconds_since(workers.c.seen_at))).scalar_one()
            end = now(conn)
            assert (start - seen).total_seconds() - 0.002 <= since <= (end - seen).total_seconds() + 0.002
        assert conn.execute(select(seconds_since(sa.null()))).scalar() is None
        # A default of the database, which on SQLite has no fraction.
        age = conn.execute(select(seconds_since(workers.c.started_at))).scalar_one()
        assert age >= 0


@pytest.mark.slow
def test_the_time_zone_of_a_session_makes_no_difference(postgres_ledger: Engine) -> None:
    with postgres_ledger.connect() as conn:
        conn.execute(sa.text("SET TIME ZONE 'Asia/Kolkata'"))
        found = now(conn)
        assert found.tzinfo is UTC
        since = conn.execute(select(seconds_since(sa.literal(found, UtcTime())))).scalar_one()
        assert 0 <= since < 3600
