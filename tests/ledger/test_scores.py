"""Scores are written once, whole and finite; what cannot be scored is set aside and can be released."""

from __future__ import annotations

import math
import threading
from contextlib import suppress
from datetime import UTC

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import IntegrityError

from curation.errors import LedgerError
from curation.ledger import (
    ScoreRow,
    find_scorer,
    register_scorer,
    score_of,
)
from curation.ledger.backlog import release
from curation.ledger.scores import next_unscored
from curation.ledger.tables import quarantine, scores
from tests.ledger.builders import (
    contents,
    fingerprint,
    new_dataset,
    new_scorer,
    pks_of,
    quarantine_sample,
    score_row,
    scored_dataset,
    unscored_pks,
    write_scores,
)

finite = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)


def test_a_scorer_is_registered_once_and_keeps_its_card(ledger: Engine) -> None:
    first = register_scorer(ledger, fingerprint(0xAB), {"model": "a", "cut": None})
    assert register_scorer(ledger, fingerprint(0xAB), {"model": "changed"}) == first
    second = register_scorer(ledger, "f" * 64, {})
    assert second != first
    with ledger.connect() as conn:
        assert find_scorer(conn).id == second
        found = find_scorer(conn, "0" * 60)
        assert found[:3] == (first, fingerprint(0xAB), {"model": "a", "cut": None})
        assert found.created_at.tzinfo is UTC
        with pytest.raises(LedgerError, match="no scorer"):
            find_scorer(conn, "abcdef")


def test_the_choice_of_a_scorer_is_never_a_guess(ledger: Engine) -> None:
    with ledger.connect() as conn, pytest.raises(LedgerError, match="nothing has been scored"):
        find_scorer(conn)
    for n in (1, 2):
        register_scorer(ledger, fingerprint(n), {})
    with ledger.connect() as conn, pytest.raises(LedgerError, match=fingerprint(2)):
        find_scorer(conn, "000000")


def test_unscored_gives_each_sample_once_in_order_of_ingest(ledger: Engine) -> None:
    dataset_id = new_dataset(ledger, "abcdefg")
    other = new_dataset(ledger, "abc")
    scorer_id = new_scorer(ledger)
    pks = pks_of(ledger, dataset_id)
    with ledger.connect() as conn:
        first = conn.execute(next_unscored(scorer_id, dataset_id, 3, 0)).scalars().all()
        assert first == pks[:3]
        assert list(conn.execute(next_unscored(scorer_id, dataset_id, 9, pks[2])).scalars()) == pks[3:]
    write_scores(ledger, scorer_id, [score_row(pk, dataset_id, 0.0) for pk in pks[::2]])
    quarantine_sample(ledger, scorer_id, pks[1], "too long")
    with ledger.connect() as conn:
        assert unscored_pks(conn, scorer_id, dataset_id) == [pks[3], pks[5]]
        assert len(unscored_pks(conn, scorer_id, other)) == 3
        assert unscored_pks(conn, new_scorer(ledger), dataset_id) == pks


@given(finite, finite, finite)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_numbers_come_back_bit_for_bit(ledger: Engine, risk: float, danger: float, loss: float) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "a"), new_scorer(ledger)
    row = score_row(pks_of(ledger, dataset_id)[0], dataset_id, risk, danger=danger, loss=loss, truncated=True)
    write_scores(ledger, scorer_id, [row])
    with ledger.connect() as conn:
        found = score_of(conn, scorer_id, row.sample_pk)
    assert all(getattr(found, name) == getattr(row, name) for name in ("risk", "danger", "loss", "n_tokens"))
    assert found.truncated is True


@pytest.mark.parametrize("field", ["risk", "danger", "safety", "loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_is_refused_with_its_whole_batch(
    ledger: Engine, field: str, value: float
) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "ab"), new_scorer(ledger)
    good, bad = pks_of(ledger, dataset_id)
    values = {"risk": 0.0} | {field: value}
    with pytest.raises(LedgerError, match=f"sample {bad}: {field} is") as refused:
        write_scores(
            ledger, scorer_id, [score_row(good, dataset_id, 1.0), score_row(bad, dataset_id, **values)]
        )
    assert "quarantine" in refused.value.hint
    assert contents(ledger)["scores"] == []

    # The database says so too, should anything else write to it.
    columns = {c.name: 0 for c in scores.columns if c.name != "scored_at"}
    row = columns | {"scorer_id": scorer_id, "sample_id": bad, "dataset_id": dataset_id, "truncated": False}
    with pytest.raises(IntegrityError), ledger.begin() as conn:
        conn.execute(scores.insert(), row | {field: value})


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.integers(0, 4), max_size=6), max_size=5))
def test_any_repetition_of_writes_leaves_one_score_per_sample(
    ledger: Engine, batches: list[list[int]]
) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "abcde"), new_scorer(ledger)
    pks = pks_of(ledger, dataset_id)
    for batch in batches:
        write_scores(ledger, scorer_id, [score_row(pks[i], dataset_id, float(i)) for i in batch])
    written = {i for batch in batches for i in batch}
    with ledger.connect() as conn:
        query = select(scores.c.sample_id, scores.c.risk).where(scores.c.scorer_id == scorer_id)
        found = {row.sample_id: row.risk for row in conn.execute(query)}
        left = unscored_pks(conn, scorer_id, dataset_id)
    assert found == {pks[i]: float(i) for i in written}
    assert left == [pks[i] for i in range(5) if i not in written]


def test_a_score_is_never_overwritten_and_scorers_do_not_mix(ledger: Engine) -> None:
    dataset_id, first, (pk,) = scored_dataset(ledger, [0.5])
    second = new_scorer(ledger)
    write_scores(ledger, first, [score_row(pk, dataset_id, 9.0)])
    write_scores(ledger, second, [score_row(pk, dataset_id, 7.0)])
    with ledger.connect() as conn:
        assert score_of(conn, first, pk).risk == 0.5
        assert score_of(conn, second, pk).risk == 7.0


def test_a_score_needs_its_sample_in_its_dataset_and_its_scorer(ledger: Engine) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "a"), new_scorer(ledger)
    other = new_dataset(ledger, "b")
    (pk,) = pks_of(ledger, dataset_id)
    for scorer, row in (
        (scorer_id, score_row(pk + 1000, dataset_id, 0.0)),
        (scorer_id, score_row(pk, other, 0.0)),
        (scorer_id + 1000, score_row(pk, dataset_id, 0.0)),
    ):
        with pytest.raises(LedgerError, match="does not have"):
            write_scores(ledger, scorer, [row])
    assert contents(ledger)["scores"] == []


def test_two_writers_with_samples_in_common_do_not_deadlock(ledger: Engine) -> None:
    dataset_id = new_dataset(ledger, (str(i) for i in range(400)))
    scorer_id = new_scorer(ledger)
    rows = [score_row(pk, dataset_id, float(pk)) for pk in pks_of(ledger, dataset_id)]
    both = threading.Barrier(2, timeout=1)
    failures: list[BaseException] = []

    def meet(_conn: object, _cursor: object, statement: str, *_rest: object) -> None:
        if statement.startswith("INSERT INTO scores"):
            with suppress(threading.BrokenBarrierError):  # SQLite lets only one get this far
                both.wait()

    def write(mine: list[ScoreRow]) -> None:
        try:
            write_scores(ledger, scorer_id, mine)
        except BaseException as error:
            failures.append(error)

    event.listen(ledger, "before_cursor_execute", meet)
    threads = [threading.Thread(target=write, args=(order,)) for order in (rows, rows[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(contents(ledger)["scores"]) == 400


def test_quarantine_counts_attempts_and_release_lets_go(ledger: Engine) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "ab"), new_scorer(ledger)
    pk, other = pks_of(ledger, dataset_id)
    quarantine_sample(ledger, scorer_id, pk, "out of memory")
    quarantine_sample(ledger, scorer_id, pk, "loss is \x00 nan\n\x1b[31m" + "x" * 10_000)
    with ledger.connect() as conn:
        found = conn.execute(select(quarantine)).one()
        assert found.attempts == 2
        assert found.reason.startswith("loss is   nan  [31mxx")
        assert len(found.reason) == 500
        assert found.last_at.tzinfo is UTC
        assert unscored_pks(conn, scorer_id, dataset_id) == [other]
        assert unscored_pks(conn, new_scorer(ledger), dataset_id) == [pk, other]
    assert release(ledger, scorer_id, new_dataset(ledger, "c")) == 0
    assert release(ledger, scorer_id, dataset_id) == 1
    with ledger.connect() as conn:
        assert unscored_pks(conn, scorer_id, dataset_id) == [pk, other]


def test_a_score_ends_the_quarantine_whichever_came_first(ledger: Engine) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "ab"), new_scorer(ledger)
    pks = pks_of(ledger, dataset_id)
    quarantine_sample(ledger, scorer_id, pks[0], "lost its worker")
    write_scores(ledger, scorer_id, [score_row(pk, dataset_id, 1.0) for pk in pks])
    quarantine_sample(ledger, scorer_id, pks[1], "a late twin failed")
    with ledger.connect() as conn:
        assert {score_of(conn, scorer_id, pk).state for pk in pks} == {"scored"}
        assert unscored_pks(conn, scorer_id, dataset_id) == []
    assert release(ledger, scorer_id, dataset_id) == 0
