"""Scoring a backlog: what an error, an interruption or a lost lease leaves behind, and who goes on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

import pytest
from sqlalchemy import Engine

from curation.errors import LedgerError
from curation.ledger import leases as api
from curation.ledger.backlog import open_backlog, take_from_service
from curation.ledger.clock import in_seconds
from curation.ledger.engine import writing
from curation.ledger.leases import Lease, claim
from curation.ledger.tables import backlog
from curation.reconcile import score as reconciler
from curation.reconcile.score import score_backlog
from curation.samples.sample import Sample
from curation.sqsd.scorer import Score, Scored
from tests.ledger.builders import (
    HOLDER,
    LONG,
    add_texts,
    finish,
    held_pks,
    pks_of,
    ranges,
    scored_pks,
    to_score,
)

SECRET = "poison text"


class StubScorer:
    """Gives every sample the same score, two at a time; `before` sees each batch first and may do anything."""

    def __init__(self, before: Callable[[list[Sample]], None] = lambda _: None) -> None:
        self.before = before

    def score_batches(self, samples: Iterable[Sample]) -> Iterator[list[Scored]]:
        left = iter(samples)
        while batch := list(islice(left, 2)):
            self.before(batch)
            yield [Scored(each, Score(0.5, 1.5, 1.0, 2.0, 0.1, 9, 3, False)) for each in batch]


def nth(n: int, act: Callable[[], None]) -> Callable[[list[Sample]], None]:
    """For `StubScorer`: something that happens before the batch number `n`, counted from 1."""
    seen: list[None] = []

    def before(_: list[Sample]) -> None:
        seen.append(None)
        if len(seen) == n:
            act()

    return before


def fail(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act


def run(engine: Engine, scorer: StubScorer, scorer_id: int, dataset_id: int) -> list[str]:
    """Score what there is; returns the answers of the samples in the order in which they were yielded."""
    batches = score_backlog(engine, scorer, scorer_id, dataset_id=dataset_id, lease_seconds=LONG)
    return [each.sample.answer for batch in batches for each in batch]


def steal(engine: Engine, scorer_id: int) -> Lease:
    """What happens to the lease of a process that was frozen."""
    with writing(engine) as conn:
        leased = backlog.update().where(backlog.c.scorer_id == scorer_id, backlog.c.token.is_not(None))
        conn.execute(leased.values(leased_until=in_seconds(-1.0), priority=1))
    lease = claim(engine, scorer_id, HOLDER, LONG)
    assert lease
    return lease


class AcceleratorError(RuntimeError):
    """Named like torch's own."""


def test_samples_that_break_the_scorer_are_found_and_held_without_their_text(
    ledger: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [f"{SECRET} {i}" if i in (3, 10) else str(i) for i in range(14)]
    dataset_id, scorer_id, pks = to_score(ledger, texts)

    def break_on_poison(batch: list[Sample]) -> None:
        for each in batch:
            if SECRET in each.answer:
                raise ValueError(f"cannot score {each.answer}")

    yielded = run(ledger, StubScorer(break_on_poison), scorer_id, dataset_id)
    assert scored_pks(ledger, scorer_id) == [pk for i, pk in enumerate(pks) if i not in (3, 10)]
    assert sorted(yielded) == sorted(f"answer {text}" for text in texts if SECRET not in text)
    held = held_pks(ledger, scorer_id)
    assert sorted(held) == [pks[3], pks[10]]
    line = break_on_poison.__code__.co_firstlineno + 3
    for reason in held.values():
        assert reason == f"scoring it failed 2 times in a row: ValueError at test_score_backlog.py:{line}"
    assert "ValueError at test_score_backlog.py" in caplog.text
    assert SECRET not in caplog.text
    assert [(row.last_pk, row.token) for row in ranges(ledger, scorer_id)] == [(None, None)]


@pytest.mark.parametrize(
    "error", [AcceleratorError("unspecified launch failure"), RuntimeError("CUDA error: an illegal access")]
)
def test_a_broken_accelerator_ends_the_run_and_counts_against_the_batch(
    ledger: Engine, error: Exception
) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdef")
    with pytest.raises(type(error)) as raised:
        run(ledger, StubScorer(nth(1, fail(error))), scorer_id, dataset_id)
    assert raised.value is error
    (row, _) = ranges(ledger, scorer_id)
    assert (row.token, row.attempts) == (None, 1)
    assert row.last_error.startswith(f"{type(error).__name__} at test_score_backlog.py:")
    assert held_pks(ledger, scorer_id) == {}
    run(ledger, StubScorer(), scorer_id, dataset_id)
    assert scored_pks(ledger, scorer_id) == pks


def test_trouble_with_the_ledger_ends_the_run_and_holds_no_sample(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdef")
    with pytest.raises(LedgerError, match="gone"):
        run(ledger, StubScorer(nth(2, fail(LedgerError("gone", "")))), scorer_id, dataset_id)
    assert (scored_pks(ledger, scorer_id), held_pks(ledger, scorer_id)) == ([], {})
    finish(ledger, steal(ledger, scorer_id))
    assert scored_pks(ledger, scorer_id) == pks


def test_a_run_that_is_closed_keeps_what_is_scored_and_gives_the_rest_back(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdefgh")
    batches = score_backlog(ledger, StubScorer(), scorer_id, dataset_id=dataset_id, lease_seconds=LONG)
    next(batches)
    next(batches)
    batches.close()
    assert scored_pks(ledger, scorer_id) == pks[:4]
    (row, _) = ranges(ledger, scorer_id)
    assert (row.token, row.attempts, row.last_error) == (None, 0, None)
    run(ledger, StubScorer(), scorer_id, dataset_id)
    assert scored_pks(ledger, scorer_id) == pks


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), SystemExit(1)])
def test_a_run_that_is_interrupted_keeps_what_is_scored_and_gives_the_rest_back(
    ledger: Engine, stop: BaseException
) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdefgh")
    with pytest.raises(type(stop)):
        run(ledger, StubScorer(nth(3, fail(stop))), scorer_id, dataset_id)
    assert scored_pks(ledger, scorer_id) == pks[:4]
    (row, _) = ranges(ledger, scorer_id)
    assert (row.token, row.attempts, row.last_error) == (None, 0, None)


def test_a_run_that_lost_its_lease_can_still_be_stopped(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdef")
    stolen: list[Lease] = []

    def steal_and_stop() -> None:
        stolen.append(steal(ledger, scorer_id))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(ledger, StubScorer(nth(2, steal_and_stop)), scorer_id, dataset_id)
    assert finish(ledger, stolen[0]) == pks

    add_samples_to(ledger, dataset_id, 4)
    batches = score_backlog(ledger, StubScorer(), scorer_id, dataset_id=dataset_id, lease_seconds=LONG)
    next(batches)
    stolen.append(steal(ledger, scorer_id))
    add_samples_to(ledger, dataset_id, 8)
    batches.close()
    assert len(finish(ledger, stolen[1])) == 4


def test_an_error_of_the_scorer_on_a_lost_lease_does_not_end_the_run(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdef")
    stolen: list[Lease] = []

    def steal_and_fail() -> None:
        stolen.append(steal(ledger, scorer_id))
        add_samples_to(ledger, dataset_id, 2)
        raise ValueError

    run(ledger, StubScorer(nth(2, steal_and_fail)), scorer_id, dataset_id)
    assert scored_pks(ledger, scorer_id) == pks_of(ledger, dataset_id)[len(pks) :]
    assert finish(ledger, stolen[0]) == pks


def test_a_lease_that_is_lost_on_the_way_is_left_to_its_new_holder(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "BATCH_SAMPLES", 4)
    monkeypatch.setattr(reconciler, "COMMIT_SECONDS", 0.0)
    dataset_id, scorer_id, pks = to_score(ledger, "abcdefghij")
    stolen: list[Lease] = []
    run(
        ledger,
        StubScorer(nth(2, lambda: stolen.append(steal(ledger, scorer_id)))),
        scorer_id,
        dataset_id,
    )
    assert scored_pks(ledger, scorer_id) == [*pks[:2], *pks[4:]]
    assert finish(ledger, stolen[0]) == pks[2:4]
    assert scored_pks(ledger, scorer_id) == pks


def test_a_run_ends_when_its_scorer_is_retired(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = to_score(ledger, "abcdef")
    retire = nth(2, lambda: take_from_service(ledger, scorer_id))
    run(ledger, StubScorer(retire), scorer_id, dataset_id)
    assert (scored_pks(ledger, scorer_id), ranges(ledger, scorer_id)) == ([], [])


def test_a_lease_outlives_a_batch_that_takes_longer(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcd")
    ends: set[object] = set()

    def wait_for_renewals() -> None:
        patience = time.monotonic() + 60
        while len(ends) < 5 and time.monotonic() < patience:
            ends.update(row.leased_until for row in ranges(ledger, scorer_id) if row.token)

    batches = score_backlog(
        ledger, StubScorer(nth(1, wait_for_renewals)), scorer_id, dataset_id=dataset_id, lease_seconds=1.5
    )
    assert sum(len(batch) for batch in batches) == 4
    assert len(ends) == 5  # five thirds of its length
    assert scored_pks(ledger, scorer_id) == pks


def test_samples_that_arrive_on_the_way_are_scored_too(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = to_score(ledger, "abcd")
    run(ledger, StubScorer(nth(2, lambda: add_samples_to(ledger, dataset_id, 5))), scorer_id, dataset_id)
    assert scored_pks(ledger, scorer_id) == pks_of(ledger, dataset_id)
    assert len(scored_pks(ledger, scorer_id)) == 9


def test_results_are_committed_on_the_way(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "COMMIT_SECONDS", 0.0)
    dataset_id, scorer_id, pks = to_score(ledger, "abcdef")
    kept: list[int] = []
    for _ in score_backlog(ledger, StubScorer(), scorer_id, dataset_id=dataset_id, lease_seconds=LONG):
        kept.append(len(scored_pks(ledger, scorer_id)))
    assert kept == [2, 4, 6]
    assert scored_pks(ledger, scorer_id) == pks


def test_a_sample_the_scorer_gives_up_on_is_held_with_its_own_reason(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abc")

    class Picky(StubScorer):
        def score_batches(self, samples: Iterable[Sample]) -> Iterator[list[Scored]]:
            for batch in super().score_batches(samples):
                yield [Scored(r.sample, None, "no b") if "b" in r.sample.answer else r for r in batch]

    run(ledger, Picky(), scorer_id, dataset_id)
    assert (scored_pks(ledger, scorer_id), held_pks(ledger, scorer_id)) == (
        [pks[0], pks[2]], {pks[1]: "no b"}
    )  # fmt: skip


def test_a_run_without_a_dataset_goes_through_them_all(ledger: Engine) -> None:
    first, scorer_id, pks = to_score(ledger, "ab")
    second, _, more = to_score(ledger, "cde")
    open_backlog(ledger, scorer_id)
    assert run(ledger, StubScorer(), scorer_id, second) == ["answer c", "answer d", "answer e"]
    batches = list(score_backlog(ledger, StubScorer(), scorer_id))
    assert [len(batch) for batch in batches] == [2]
    assert scored_pks(ledger, scorer_id) == [*pks, *more]
    assert run(ledger, StubScorer(), scorer_id, first) == []


def add_samples_to(engine: Engine, dataset_id: int, n: int) -> None:
    start = len(pks_of(engine, dataset_id))
    add_texts(engine, dataset_id, [f"late {start + i}" for i in range(n)])
