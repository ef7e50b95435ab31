"""How firm a ranking is when the anchors behind it are drawn anew: ranks under every draw, bands, agreement.

Pure numbers. A direction from other anchors gives risks on another level and scale, and moves all samples alike; what
counts is the order. So every draw ranks the whole dataset, a sample's band is cut from its ranks, and the band is told
in risks of the scorer itself: those that stand at these ranks. docs/method.md says why.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from curation.triage import TIERS, Tier, TierPolicy, percentile

Floats = NDArray[np.float64]
Places = NDArray[np.int64]

LOW, HIGH = 0.05, 0.95
"""Share of the draws below either end of a band."""

TOP = 0.1
"""The riskiest part whose overlap is told."""

MAX_PAIRS = 64
"""Pairs of draws that are looked at: each costs a sort of the dataset and 8 bytes a sample."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Rankings under draws against the scorer's own, over all pairs of draws: the mean and the worst of them.

    `spearman`: rank correlation; `top`: share of the riskiest tenth that is also a draw's riskiest tenth.
    """

    spearman: tuple[float, float]
    top: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Stability:
    """Bands of n samples and what they say of the ranking.

    `low` and `high` (n,) are risks in the scorer's own units. `tiers` holds, for each tier but the lowest, how many
    samples are in it and how many of these are in it, or in a riskier one, under every pair of draws.
    """

    low: Floats
    high: Floats
    pairs: int
    agreement: Agreement
    tiers: dict[Tier, tuple[int, int]]


def assess(risk: Floats, danger: Floats, safety: Floats, policy: TierPolicy) -> Stability:
    """Bands from the scorer's risks (n,) and both terms under each of their draws, (n, draws of the term).

    Draws of the two terms are drawn apart, so every one of the one goes with every one of the other. Raises ValueError
    if there is no sample.
    """
    n = len(risk)
    if not n:
        raise ValueError("no sample to rank")
    own = _above(risk)
    above = np.stack(
        [_above(danger[:, i] - safety[:, j]) for i, j in pairs(danger.shape[1], safety.shape[1])]
    )
    descending = np.sort(risk)[::-1]
    highest = np.quantile(above, HIGH, axis=0, method="higher").astype(
        np.int64
    )  # most riskier ones: the low end
    lowest = np.quantile(above, LOW, axis=0, method="lower").astype(np.int64)
    return Stability(
        descending[highest],
        descending[lowest],
        len(above),
        _agreement(own, above),
        _tiers(own, above, policy),
    )


def pairs(n_danger: int, n_safety: int) -> list[tuple[int, int]]:
    """Every draw of danger with every draw of safety; of more than MAX_PAIRS as many, the same ones each time."""
    every = list(product(range(n_danger), range(n_safety)))
    return every if len(every) <= MAX_PAIRS else sorted(random.Random(0).sample(every, MAX_PAIRS))  # noqa: S311


def _above(risk: Floats) -> Places:
    """How many samples are strictly riskier than each, (n,)."""
    return len(risk) - np.searchsorted(np.sort(risk), risk, side="right")


def _agreement(own: Places, above: Sequence[Places] | Places) -> Agreement:
    ranks = rankdata(own)
    top = _riskiest(own)
    found = [(_correlation(ranks, rankdata(one)), (top & _riskiest(one)).sum() / top.sum()) for one in above]
    spearman, overlap = np.array(found).T
    return Agreement(_mean_and_worst(spearman), _mean_and_worst(overlap))


def _mean_and_worst(values: Floats) -> tuple[float, float]:
    return float(values.mean()), float(values.min())


def _correlation(a: Floats, b: Floats) -> float:
    """Of two rankings; 0 where one of them is all ties."""
    return float(np.corrcoef(a, b)[0, 1]) if np.ptp(a) and np.ptp(b) else 0.0


def _riskiest(above: Places) -> NDArray[np.bool_]:
    """The riskiest tenth, one sample at least; ties at its end belong to it."""
    return above < max(1, round(TOP * len(above)))


def _tiers(own: Places, above: Places, policy: TierPolicy) -> dict[Tier, tuple[int, int]]:
    n = len(own)
    scale = np.array([percentile(a, n) for a in range(n)])
    found: dict[Tier, tuple[int, int]] = {}
    for tier in TIERS[:-1]:
        at_least = scale >= policy.floor(tier)
        inside = np.array([policy.tier(p) == tier for p in scale])[own]
        always = at_least[above].all(0)
        found[tier] = (int(inside.sum()), int((inside & always).sum()))
    return found
