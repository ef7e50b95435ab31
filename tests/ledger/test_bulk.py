"""Many rows at once: new ones are added, known ones left alone, all or none."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import IntegrityError

from curation.ledger.bulk import insert_new
from curation.ledger.engine import writing
from curation.ledger.tables import scores
from tests.ledger.builders import new_dataset, new_scorer, pks_of


class Rows:
    """Scores by one scorer for the samples of a dataset."""

    def __init__(self, engine: Engine, n: int) -> None:
        self.scorer_id, self.dataset_id = new_scorer(engine), new_dataset(engine, map(str, range(n)))
        self.pks = pks_of(engine, self.dataset_id)

    def __call__(
        self, *places: int, risk: float = 0.1 + 2**-54, pk: int | None = None
    ) -> list[dict[str, Any]]:
        return [
            {
                "scorer_id": self.scorer_id,
                "sample_id": self.pks[i] if pk is None else pk,
                "dataset_id": self.dataset_id,
                "risk": risk,
                "danger": 1e300,
                "safety": -5e-324,
                "loss": 2**-1074,
                "grad_norm": 1 / 3,
                "n_tokens": 2**31 - 1,
                "n_answer_tokens": 0,
                "truncated": bool(i % 2),
            }
            for i in places
        ]

    def stored(self, engine: Engine) -> dict[int, float]:
        query = select(scores.c.sample_id, scores.c.risk).where(scores.c.scorer_id == self.scorer_id)
        with engine.connect() as conn:
            return {self.pks.index(row.sample_id): row.risk for row in conn.execute(query)}


def staged(conn: Connection) -> int:
    """Rows in the temporary table."""
    return conn.execute(sa.text("SELECT count(*) FROM new_scores")).scalar_one()


def test_rows_come_back_as_they_were_given(ledger: Engine) -> None:
    rows = Rows(ledger, 4)
    given = rows(0, 1, 2, 3)
    with writing(ledger) as conn:
        insert_new(conn, scores, given)
    columns = [scores.c[name] for name in given[0]]
    with ledger.connect() as conn:
        found = conn.execute(select(*columns).order_by(scores.c.sample_id)).mappings().all()
        assert [dict(row) for row in found] == given
        assert conn.execute(select(sa.func.count(scores.c.scored_at))).scalar_one() == 4


def test_rows_that_are_known_keep_their_values(ledger: Engine) -> None:
    rows = Rows(ledger, 4)
    with writing(ledger) as conn:
        insert_new(conn, scores, rows(0, 1, risk=1.0))
    with writing(ledger) as conn:
        insert_new(conn, scores, rows(1, 2, 1, risk=2.0))
        insert_new(conn, scores, rows(2, 3, risk=3.0))
    assert rows.stored(ledger) == {0: 1.0, 1: 1.0, 2: 2.0, 3: 3.0}


@pytest.mark.parametrize("wrong", [{"pk": 10**6}, {"risk": float("nan")}, {"risk": float("inf")}])
def test_a_row_that_is_refused_takes_its_batch_with_it(ledger: Engine, wrong: dict[str, Any]) -> None:
    rows = Rows(ledger, 3)
    with pytest.raises(IntegrityError), writing(ledger) as conn:
        insert_new(conn, scores, [*rows(0), *rows(1, **wrong), *rows(2)])
    assert rows.stored(ledger) == {}
    with writing(ledger) as conn:
        insert_new(conn, scores, rows(2))
    assert list(rows.stored(ledger)) == [2]


def test_what_was_rolled_back_does_not_come_with_the_next_batch(ledger: Engine) -> None:
    rows = Rows(ledger, 6)
    with ledger.connect() as conn:  # one session for all
        for places, kept in (((0,), True), ((1, 2), False), ((3,), True), ((4,), False), ((5,), True)):
            transaction = conn.begin()
            insert_new(conn, scores, rows(*places))
            transaction.commit() if kept else transaction.rollback()
    assert list(rows.stored(ledger)) == [0, 3, 5]


@pytest.mark.slow
def test_a_session_makes_its_temporary_table_once_and_leaves_it_empty(postgres_ledger: Engine) -> None:
    rows = Rows(postgres_ledger, 4)
    tables: set[int] = set()
    with postgres_ledger.connect() as conn:
        for i in range(3):
            with conn.begin():
                insert_new(conn, scores, rows(i))
                assert staged(conn) == 1
                tables.add(conn.execute(sa.text("SELECT 'new_scores'::regclass::oid")).scalar_one())
            with conn.begin():
                assert staged(conn) == 0
        with conn.begin() as transaction:
            insert_new(conn, scores, rows(3))
            transaction.rollback()
        with conn.begin():
            assert staged(conn) == 0
    assert len(tables) == 1


@pytest.mark.slow
def test_two_sessions_at_once_do_not_see_each_others_rows(postgres_ledger: Engine) -> None:
    rows = Rows(postgres_ledger, 4)
    with postgres_ledger.connect() as one, postgres_ledger.connect() as other:
        with one.begin(), other.begin():
            insert_new(one, scores, rows(0, 1, risk=1.0))
            insert_new(other, scores, rows(2, risk=2.0))
            assert (staged(one), staged(other)) == (2, 1)
        with other.begin():
            insert_new(other, scores, rows(0, 3, risk=2.0))
    assert rows.stored(postgres_ledger) == {0: 1.0, 1: 1.0, 2: 2.0, 3: 2.0}
