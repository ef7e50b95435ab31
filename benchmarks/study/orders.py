"""Is it the rows that cost, or the order they are trained in and where the LoRA began?

Of windows that were trained in several orders each: how far runs of one window lie apart, and how far windows do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.study.analysis import Outcome
from benchmarks.study.arms import WINDOWS
from curation.evaluate.statistics import DRAWS

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RowsOrOrder:
    """The windows of one ranking.

    `share` is the part of a single run's variance that is due to its rows, at most 1: the intraclass correlation
    (MSB - MSW) / (MSB + (n - 1) MSW) of a one-way analysis of variance with n orders, mean squares averaged over
    pools (Shrout and Fleiss 1979, ICC(1,1)); below 0 where orders differ by more than windows do. `p` is the chance
    of as large an MSB / MSW if the runs of a pool had nothing to do with its windows. `spread` is, by seed, the
    standard deviation of the windows' means, in the outcome's units.
    """

    ranking: str
    share: float
    share_by_seed: dict[int, float]
    p: float
    spread: dict[int, float]


def rows_or_order(outcome: Outcome, ranking: str) -> RowsOrOrder | None:
    """Rows against order for the windows of a ranking, None if they were not all run in two orders or more."""
    arms = [f"window:{ranking}:{k}" for k in range(1, WINDOWS + 1)]
    seeds = outcome.seeds(*arms)
    if not seeds:
        return None
    runs = np.stack([[outcome.run_means(arm, seed) for arm in arms] for seed in seeds])
    if runs.shape[2] < 2:
        return None
    between, within = mean_squares(runs)
    means = dict(zip(seeds, runs.mean(2).std(1, ddof=1).round(4).tolist(), strict=True))
    by_seed = [_share(b, w, runs.shape[2]) for b, w in zip(between, within, strict=True)]
    return RowsOrOrder(
        ranking,
        _share(between.mean(), within.mean(), runs.shape[2]),
        dict(zip(seeds, by_seed, strict=True)),
        chance(runs),
        means,
    )


def mean_squares(runs: Floats) -> tuple[Floats, Floats]:
    """Mean squares between windows and within them, of (..., windows, orders), each (...)."""
    return runs.shape[-1] * runs.mean(-1).var(-1, ddof=1), runs.var(-1, ddof=1).mean(-1)


def chance(runs: Floats, seed: int = 0) -> float:
    """One-sided permutation p of (pools, windows, orders): runs change places within their pool, in (0, 1]."""
    draw = np.random.default_rng(seed)
    flat = np.broadcast_to(runs.reshape(len(runs), -1), (DRAWS, len(runs), runs[0].size))
    shuffled = draw.permuted(flat, axis=-1).reshape(DRAWS, *runs.shape)
    null, found = (b.sum(-1) / w.sum(-1) for b, w in (mean_squares(shuffled), mean_squares(runs)))
    return float((1 + (null >= found - 1e-12).sum()) / (1 + DRAWS))


def _share(between: float, within: float, n: int) -> float:
    whole = between + (n - 1) * within
    return round(float((between - within) / whole), 3) if whole else 0.0
