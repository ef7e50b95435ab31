"""Samples, scores and whole ledgers for tests, and what a ledger holds regardless of its numbering."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row, select

from curation.ledger import (
    ScoreRow,
    add_samples,
    find_dataset,
    reading,
    register_scorer,
    writing,
)
from curation.ledger import leases as api
from curation.ledger.backlog import open_backlog
from curation.ledger.clock import in_seconds
from curation.ledger.leases import Holder, Lease, claim, leased_samples, write_results
from curation.ledger.scores import insert_quarantine, insert_scores, next_unscored, untouched
from curation.ledger.tables import backlog, datasets, occurrences, quarantine, samples, scorers, scores
from curation.samples.sample import Message, Sample, Source

_numbers = itertools.count(1)

HOLDER = Holder("here", 1)
LONG = 1000.0
"""Seconds of a lease that does not run out during a test."""


def sample(text: str, line: int | None = None, file: str = "train.jsonl", **metadata: Any) -> Sample:
    messages = (Message("user", f"question {text}"), Message("assistant", f"answer {text}"))
    return Sample(messages, metadata=metadata, source=Source(file, line) if line is not None else None)


def fingerprint(n: int) -> str:
    return f"{n:064x}"


def new_scorer(engine: Engine) -> int:
    return register_scorer(engine, fingerprint(next(_numbers)), {"model": "tiny"})


def new_dataset(engine: Engine, texts: Iterable[str]) -> int:
    """A dataset of one sample per text, in a ledger that may hold others."""
    name = f"dataset {next(_numbers)}"
    add_samples(engine, name, [sample(text, i) for i, text in enumerate(texts, start=1)])
    with engine.connect() as conn:
        return find_dataset(conn, name).id


def score_row(pk: int, dataset_id: int, risk: float, **more: Any) -> ScoreRow:
    values: dict[str, Any] = {
        "danger": risk + 1.0,
        "safety": 1.0,
        "loss": 2.5,
        "grad_norm": 0.5,
        "n_tokens": 12,
        "n_answer_tokens": 5,
        "truncated": False,
    }
    return ScoreRow(pk, dataset_id, risk, **(values | more))


def write_scores(engine: Engine, scorer_id: int, rows: Iterable[ScoreRow]) -> None:
    with writing(engine) as conn:
        insert_scores(conn, scorer_id, rows)


def quarantine_sample(engine: Engine, scorer_id: int, pk: int, reason: str) -> None:
    with writing(engine) as conn:
        insert_quarantine(conn, scorer_id, [(pk, reason)])


def scored_dataset(engine: Engine, risks: Sequence[float]) -> tuple[int, int, list[int]]:
    """(dataset, scorer, pks) with one scored sample per risk."""
    dataset_id = new_dataset(engine, (str(i) for i in range(len(risks))))
    scorer_id = new_scorer(engine)
    pks = pks_of(engine, dataset_id)
    write_scores(engine, scorer_id, [score_row(pk, dataset_id, r) for pk, r in zip(pks, risks, strict=True)])
    return dataset_id, scorer_id, pks


def pks_of(engine: Engine, dataset_id: int) -> list[int]:
    query = select(samples.c.id).where(samples.c.dataset_id == dataset_id).order_by(samples.c.id)
    with engine.connect() as conn:
        return list(conn.execute(query).scalars())


def unscored_pks(conn: Connection, scorer_id: int, dataset_id: int) -> list[int]:
    return list(conn.execute(next_unscored(scorer_id, dataset_id, 1000, 0)).scalars())


def contents(engine: Engine) -> dict[str, Any]:
    """Everything the ledger says, without the numbers and times at which it was told."""
    with reading(engine) as conn:
        body = select(datasets.c.name, samples.c.content_hash, samples.c.body, samples.c.n_chars)
        line = select(datasets.c.name, occurrences.c.file, occurrences.c.line, samples.c.content_hash)
        score = select(scorers.c.fingerprint, samples.c.content_hash, scores.c.risk, scores.c.danger)
        same = (samples.c.dataset_id == occurrences.c.dataset_id) & (samples.c.id == occurrences.c.sample_id)
        return {
            "samples": _rows(conn, body.join_from(samples, datasets)),
            "lines": _rows(
                conn,
                line.add_columns(occurrences.c.metadata).join_from(occurrences, samples, same).join(datasets),
            ),
            "scores": _rows(
                conn, score.join_from(scores, scorers).join(samples, samples.c.id == scores.c.sample_id)
            ),
        }


def _rows(conn: Connection, query: Any) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in conn.execute(query))


def to_score(engine: Engine, texts: Iterable[str]) -> tuple[int, int, list[int]]:
    """(dataset, scorer, pks) with everything in the scorer's backlog."""
    dataset_id, scorer_id = new_dataset(engine, texts), new_scorer(engine)
    open_backlog(engine, scorer_id, dataset_id)
    return dataset_id, scorer_id, pks_of(engine, dataset_id)


def add_texts(engine: Engine, dataset_id: int, texts: Sequence[str]) -> list[int]:
    """Add samples to a dataset that is there; returns their pks."""
    with engine.connect() as conn:
        name = conn.execute(select(datasets.c.name).where(datasets.c.id == dataset_id)).scalar_one()
    add_samples(engine, name, [sample(text, file=f"more {next(_numbers)}") for text in texts])
    return pks_of(engine, dataset_id)[-len(texts) :] if texts else []


@contextmanager
def batches_of(n_samples: int, n_chars: int = 10**6) -> Iterator[None]:
    """Leases of at most so many samples and characters, in a block or a whole test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "BATCH_SAMPLES", n_samples)
        patch.setattr(api, "BATCH_CHARS", n_chars)
        yield


def state(engine: Engine) -> list[list[Any]]:
    """What has been scored, what is held and what is left, row by row."""
    with engine.connect() as conn:
        return [sorted(map(tuple, conn.execute(select(t))), key=str) for t in (scores, quarantine, backlog)]


def claimed(engine: Engine, scorer_id: int, dataset_id: int | None = None, holder: Holder = HOLDER) -> Lease:
    """The next lease, of which there must be one."""
    lease = claim(engine, scorer_id, holder, LONG, dataset_id)
    assert lease
    return lease


def lease_pks(engine: Engine, lease: Lease) -> list[int]:
    with reading(engine) as conn:
        return [row.pk for row in leased_samples(conn, lease)]


def expire(engine: Engine, lease: Lease) -> None:
    """What time would do."""
    with writing(engine) as conn:
        this = backlog.c.id == lease.id, backlog.c.token == lease.token
        conn.execute(backlog.update().where(*this).values(leased_until=in_seconds(-1.0)))


def write(engine: Engine, lease: Lease, pks: Iterable[int], *, done: bool = False, risk: float = 0.0) -> None:
    """Scores for some samples of a lease."""
    rows = [score_row(pk, lease.dataset_id, risk) for pk in pks]
    write_results(engine, lease, rows, [], LONG, done=done)


def finish(engine: Engine, lease: Lease) -> list[int]:
    """Score what is left of a lease and end it; returns the samples."""
    pks = lease_pks(engine, lease)
    write(engine, lease, pks, done=True)
    return pks


def drain(engine: Engine, scorer_id: int, dataset_id: int | None = None) -> list[list[int]]:
    """Score until nothing is left to claim; returns the samples batch by batch."""
    batches: list[list[int]] = []
    while lease := claim(engine, scorer_id, HOLDER, LONG, dataset_id):
        batches.append(finish(engine, lease))
    return batches


def scored_pks(engine: Engine, scorer_id: int) -> list[int]:
    query = select(scores.c.sample_id).where(scores.c.scorer_id == scorer_id).order_by(scores.c.sample_id)
    with engine.connect() as conn:
        return list(conn.execute(query).scalars())


def held_pks(engine: Engine, scorer_id: int) -> dict[int, str]:
    """Samples in quarantine and why."""
    query = select(quarantine.c.sample_id, quarantine.c.reason).where(quarantine.c.scorer_id == scorer_id)
    with engine.connect() as conn:
        return {row.sample_id: row.reason for row in conn.execute(query)}


def ranges(engine: Engine, scorer_id: int) -> list[Row[Any]]:
    """A scorer's backlog by place."""
    query = select(backlog).where(backlog.c.scorer_id == scorer_id)
    with engine.connect() as conn:
        return list(conn.execute(query.order_by(backlog.c.dataset_id, backlog.c.first_pk)).all())


def assert_nothing_is_lost_or_shared(engine: Engine, scorer_id: int, *dataset_ids: int) -> None:
    """Each sample that the scorer has yet to see is in one range of its backlog, and no sample is in two."""
    in_range = sa.and_(
        backlog.c.scorer_id == scorer_id,
        backlog.c.dataset_id == samples.c.dataset_id,
        backlog.c.first_pk <= samples.c.id,
        sa.or_(backlog.c.last_pk.is_(None), backlog.c.last_pk >= samples.c.id),
    )
    n_ranges = select(sa.func.count()).select_from(backlog).where(in_range).scalar_subquery()
    pks = select(samples.c.id).where(samples.c.dataset_id.in_(dataset_ids)).order_by(samples.c.id)
    with reading(engine) as conn:
        lost = conn.execute(pks.where(untouched(scorer_id), n_ranges == 0)).scalars().all()
        shared = conn.execute(pks.where(n_ranges > 1)).scalars().all()
    assert (lost, shared) == ([], [])
