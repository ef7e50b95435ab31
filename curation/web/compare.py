"""A sample beside others of its dataset: is it only long, or odd in another trivial way, and what is like it?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from sqlalchemy import Connection

from curation.ledger.overview import ranked_samples, score_columns
from curation.ledger.queue import QueueItem, score_of
from curation.ledger.samples import StoredSample, samples_around
from curation.samples.sample import Sample
from curation.triage import TierPolicy

DRAWN = 1_000
"""Scored samples, drawn at random, that one sample is compared with."""

RISKIEST, AROUND = 1_000, 500
"""Where similar samples are looked for: among the riskiest, and among those that were read in next to it."""

_TEXT = 2_000
_MOST = 10
_LEAST = 0.1

Trait = Literal["answer tokens", "tokens", "loss", "gradient norm"]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A number of a sample and the share (0 to 1) of `n` others that have a lower one; equal ones count half."""

    trait: Trait
    value: float
    lower: float
    n: int


@dataclass(frozen=True, slots=True)
class Similar:
    """A sample and how alike its words and pairs of words are: 1 = the same, 0 = none in common."""

    item: QueueItem
    likeness: float


def compare(conn: Connection, dataset_id: int, scorer_id: int, item: QueueItem) -> list[Comparison]:
    """Length, loss and gradient norm of a scored sample beside others of its dataset."""
    drawn = score_columns(conn, dataset_id, scorer_id, DRAWN)
    columns = {
        "answer tokens": (item.n_answer_tokens, drawn.n_answer_tokens),
        "tokens": (item.n_tokens, drawn.n_tokens),
        "loss": (item.loss, drawn.loss),
        "gradient norm": (item.grad_norm, drawn.grad_norm),
    }
    found: list[Comparison] = []
    for trait, (value, others) in columns.items():
        if value is not None and len(others):
            lower = float(np.mean(others < value) + np.mean(others == value) / 2)
            found.append(Comparison(trait, float(value), lower, len(others)))  # type: ignore[arg-type]
    return found


def similar(
    conn: Connection, dataset_id: int, scorer_id: int, stored: StoredSample, policy: TierPolicy
) -> list[Similar]:
    """The samples most alike in their words, of the riskiest and of those read in next to this one."""
    candidates = {pk: sample for pk, sample, _ in ranked_samples(conn, dataset_id, scorer_id, RISKIEST)}
    candidates |= {one.pk: one.sample for one in samples_around(conn, dataset_id, stored.pk, AROUND)}
    candidates.pop(stored.pk, None)
    if not candidates:
        return []
    likeness = _likeness(stored.sample, list(candidates.values()))
    best = sorted(zip(likeness, candidates, strict=True), reverse=True)[:_MOST]
    return [
        Similar(score_of(conn, scorer_id, pk, policy), float(value)) for value, pk in best if value >= _LEAST
    ]


def _likeness(sample: Sample, others: Sequence[Sample]) -> list[float]:
    from sklearn.feature_extraction.text import TfidfVectorizer  # takes a second to import

    texts = [_words(one) for one in (sample, *others)]
    try:
        vectors = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True).fit_transform(texts)
    except ValueError:  # not one word in all of them
        return [0.0] * len(others)
    return (vectors[1:] @ vectors[0].T).toarray().ravel().tolist()


def _words(sample: Sample) -> str:
    """The start of the prompt and of the answer: enough to be recognised by, and bounded."""
    return f"{sample.prompt[:_TEXT]}\n{sample.answer[:_TEXT]}"
