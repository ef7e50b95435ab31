"""The score reconciler: every sample of a dataset gets a score by the scorer, or a reason why it has none.

Level-triggered and idempotent: it looks at what the ledger lacks, works, commits batch by batch, and can be
killed at any point and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict

from sqlalchemy import Engine

from curation.ledger.engine import reading
from curation.ledger.samples import StoredSample
from curation.ledger.scores import ScoreRow, quarantine_sample, register_scorer, unscored, write_scores
from curation.samples.sample import Sample
from curation.sqsd.batching import LOOK_AHEAD
from curation.sqsd.scorer import Scored, Scorer


def score_dataset(
    engine: Engine, scorer: Scorer, dataset_id: int, on_batch: Callable[[list[Scored]], None] = lambda _: None
) -> int:
    """Score what the dataset lacks; returns the scorer's number in the ledger. `on_batch` follows each commit."""
    scorer_id = register_scorer(engine, scorer.fingerprint, scorer.card)
    while stored := _Window(engine, scorer_id, dataset_id):
        for batch in scorer.score_batches(stored.samples()):
            _keep(engine, scorer_id, stored, batch)
            on_batch(batch)
    return scorer_id


class _Window:
    """The unscored samples of one sweep, read a page at a time, and which row each came from."""

    def __init__(self, engine: Engine, scorer_id: int, dataset_id: int) -> None:
        self._engine = engine
        self._key = (scorer_id, dataset_id)
        self._first = self._page(0)
        self.rows: dict[str, StoredSample] = {}

    def __bool__(self) -> bool:
        return bool(self._first)

    def samples(self) -> Iterator[Sample]:
        page = self._first
        while page:
            for row in page:
                self.rows[row.sample.id] = row
                yield row.sample
            page = self._page(page[-1].pk)

    def _page(self, after_pk: int) -> list[StoredSample]:
        with reading(self._engine) as conn:
            return unscored(conn, *self._key, LOOK_AHEAD, after_pk)


def _keep(engine: Engine, scorer_id: int, window: _Window, batch: list[Scored]) -> None:
    """Commit one batch: its scores in one transaction, then its failures."""
    done = [(window.rows.pop(result.sample.id), result) for result in batch]
    write_scores(
        engine,
        scorer_id,
        [ScoreRow(row.pk, row.dataset_id, **asdict(r.score)) for row, r in done if r.score is not None],
    )
    for row, result in done:
        if result.score is None:
            quarantine_sample(engine, scorer_id, row.pk, result.failure or "unknown")
