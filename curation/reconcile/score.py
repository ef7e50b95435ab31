"""The score reconciler: every sample of a dataset gets a score by the scorer, or a reason why it has none.

Level-triggered and idempotent: it looks at what the ledger lacks, works, commits batch by batch, and can be
killed at any point and run again.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
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
    found = True
    while found:  # until a sweep meets nothing: samples may have come in since the last one passed
        found = False
        rows: dict[str, StoredSample] = {}
        for batch in scorer.score_batches(_unscored(engine, scorer_id, dataset_id, rows)):
            _keep(engine, scorer_id, [(rows.pop(result.sample.id), result) for result in batch])
            on_batch(batch)
            found = True
    return scorer_id


def _unscored(
    engine: Engine, scorer_id: int, dataset_id: int, rows: dict[str, StoredSample]
) -> Generator[Sample]:
    """One sweep over the unscored samples, read a page at a time; `rows` remembers which row each came from."""
    after_pk = 0
    while True:
        with reading(engine) as conn:
            page = unscored(conn, scorer_id, dataset_id, LOOK_AHEAD, after_pk)
        if not page:
            return
        for row in page:
            rows[row.sample.id] = row
            yield row.sample
        after_pk = page[-1].pk


def _keep(engine: Engine, scorer_id: int, done: list[tuple[StoredSample, Scored]]) -> None:
    """Commit one batch: its scores in one transaction, then its failures."""
    write_scores(
        engine,
        scorer_id,
        [ScoreRow(row.pk, row.dataset_id, **asdict(r.score)) for row, r in done if r.score is not None],
    )
    for row, result in done:
        if result.score is None:
            quarantine_sample(engine, scorer_id, row.pk, result.failure or "unknown")
