"""What became of the samples that were reviewed, beside their place in the order of risk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from curation.ledger.decisions import decided_samples, risks_of_decided
from curation.ledger.exports import risks_on_lines
from curation.review.fold import Rule, disagree, last_words, standing


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate between its bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Outcomes:
    """Reviewed samples of a dataset, from the riskiest down.

    `above` (m,): how many of the `n` scored samples are strictly riskier; `rejected` (m,): whether it was rejected,
    otherwise it was approved. `conflicts` and `undecided` count samples with decisions that stand (undecided ones are
    in no array). `votes`: how many samples had so many (approvals, rejects); `pairs`: for two reviewers, how often
    (the first, the second) rejected what both had read.
    """

    n: int
    above: NDArray[np.int64]
    rejected: NDArray[np.bool_]
    conflicts: int
    undecided: int
    votes: Mapping[tuple[int, int], int]
    pairs: Mapping[tuple[str, str], Counter[tuple[bool, bool]]]
    decisions: int
    reviewers: Mapping[str, int]


def outcomes(conn: Connection, dataset_id: int, scorer_id: int, rule: Rule) -> Outcomes:
    """Gather them from one moment of the ledger. Samples without a score, or on no line any more, have no place in the
    order; their decisions count for agreement only."""
    risks = risks_on_lines(conn, dataset_id, scorer_id)
    risk_of = risks_of_decided(conn, dataset_id, scorer_id)
    placed: list[tuple[float, bool]] = []
    votes: Counter[tuple[int, int]] = Counter()
    pairs: dict[tuple[str, str], Counter[tuple[bool, bool]]] = {}
    reviewers: Counter[str] = Counter()
    conflicts = undecided = decisions = 0
    for pk, decided in decided_samples(conn, dataset_id):
        decisions += len(decided)
        words = last_words(decided)
        if not words:
            continue
        reviewers.update(word.reviewer for word in words)
        rejects = {word.reviewer: word.verdict == "reject" for word in words}
        votes[len(words) - sum(rejects.values()), sum(rejects.values())] += 1
        names = sorted(rejects)
        for i, first in enumerate(names):
            for second in names[i + 1 :]:
                pairs.setdefault((first, second), Counter())[rejects[first], rejects[second]] += 1
        conflicts += disagree(words)
        state = standing(words, rule)
        undecided += state == "undecided"
        if state != "undecided" and pk in risk_of:
            placed.append((risk_of[pk], state == "rejected"))
    placed.sort(reverse=True)
    risk = np.array([one[0] for one in placed], dtype=np.float64)
    above = len(risks) - np.searchsorted(risks[::-1], risk, side="right")
    rejected = np.array([one[1] for one in placed], dtype=np.bool_)
    return Outcomes(
        len(risks), above.astype(np.int64), rejected, conflicts, undecided, votes, pairs, decisions, reviewers
    )
