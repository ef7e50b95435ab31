"""Do reviewers agree? Krippendorff's alpha over all of them, Cohen's kappa for every two."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.review.outcomes import Interval, Outcomes

_DRAWS = 300
_FEWEST = 10
"""Samples that two reviewers must share before their kappa says anything."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two reviewers on the `n` samples both have decided on, `same` of them alike.

    `kappa` has a 95 % interval; it is None for fewer than ten samples, and where neither varies, because then chance
    explains everything.
    """

    first: str
    second: str
    n: int
    same: int
    kappa: Interval | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """`alpha` over the `n` samples that two or more have decided on, with a 95 % interval from a bootstrap over
    samples: 1 = perfect, 0 = no more than by chance. None if all said the same, or nobody shared a sample."""

    n: int
    alpha: Interval | None
    pairs: tuple[Pair, ...]


def agreement(found: Outcomes) -> Agreement:
    """Agreement by each reviewer's last word on each sample."""
    shared = {votes: n for votes, n in found.votes.items() if sum(votes) > 1}
    pairs = [
        _pair(names, {(a, b): table[a, b] for a in (False, True) for b in (False, True)})
        for names, table in found.pairs.items()
    ]
    pairs.sort(key=lambda pair: -pair.n)
    return Agreement(sum(shared.values()), _alpha(shared), tuple(pairs))


def _alpha(shared: Mapping[tuple[int, int], int]) -> Interval | None:
    if not shared:
        return None
    kinds = np.array(list(shared))
    counts = np.array(list(shared.values()))
    value = _alpha_of(kinds, counts)
    if value is None:
        return None
    n = int(counts.sum())
    draws = np.random.default_rng(0).multinomial(n, counts / n, size=_DRAWS)
    drawn = [alpha for draw in draws if (alpha := _alpha_of(kinds, draw)) is not None]
    low, high = np.quantile(drawn, (0.025, 0.975)) if drawn else (value, value)
    return Interval(value, float(low), float(high))


def _alpha_of(kinds: NDArray[Any], counts: NDArray[Any]) -> float | None:
    """Alpha of samples given as kinds of votes (k, 2) and how many there are of each (k,)."""
    import krippendorff

    votes = np.repeat(kinds, counts, axis=0)
    if not votes.sum(axis=0).all():  # one verdict only: nothing to disagree about
        return None
    return float(krippendorff.alpha(value_counts=votes, level_of_measurement="nominal"))


def _pair(names: tuple[str, str], table: Mapping[tuple[bool, bool], int]) -> Pair:
    from statsmodels.stats.inter_rater import cohens_kappa

    square = np.array([[table[False, False], table[False, True]], [table[True, False], table[True, True]]])
    n, same = int(square.sum()), int(np.trace(square))
    with warnings.catch_warnings():  # of 0 / 0, which is told by the None
        warnings.simplefilter("ignore", RuntimeWarning)
        found: Any = cohens_kappa(square)
    kappa = Interval(float(found.kappa), max(-1.0, float(found.kappa_low)), min(1.0, float(found.kappa_upp)))
    return Pair(
        *names,
        n,
        same,
        kappa if n >= _FEWEST and np.isfinite((kappa.value, kappa.low, kappa.high)).all() else None,
    )
