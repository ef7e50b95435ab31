"""Samples, scores and whole ledgers for tests, and what a ledger holds regardless of its numbering."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, select

from curation.ledger import (
    ScoreRow,
    add_samples,
    find_dataset,
    reading,
    register_scorer,
    unscored,
    write_scores,
)
from curation.ledger.tables import datasets, occurrences, samples, scorers, scores
from curation.samples.sample import Message, Sample, Source

_numbers = itertools.count(1)


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
    return [stored.pk for stored in unscored(conn, scorer_id, dataset_id, limit=1000)]


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
