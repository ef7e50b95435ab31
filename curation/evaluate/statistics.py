"""Means over runs and prompts with intervals that know of both.

The unit of replication is a training run, not a prompt: prompts asked of the same model share its luck. The
hierarchical bootstrap draws runs with replacement, then prompts, the same ones for every run, and takes the mean of
the chosen table. With three runs it can only ever see ten different sets of them, and its interval is too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS = 10_000
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its bootstrap interval at `LEVEL`, in the units of the values."""

    mean: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


def hierarchical(values: ArrayLike, seed: int = 0) -> Interval:
    """Mean of a table (runs, prompts) with its percentile interval; one row is a plain bootstrap over prompts.

    Raises ValueError if the table is empty or holds numbers that are not finite.
    """
    draws = resampled_means(values, seed)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(np.mean(np.asarray(values, float))), float(low), float(high))


def two_sided_p(values: ArrayLike, seed: int = 0) -> float:
    """Twice the smaller share of resampled means on either side of 0, at least 1 / DRAWS, in (0, 1]."""
    draws = resampled_means(values, seed)
    return float(min(1.0, max(2 * min((draws <= 0).mean(), (draws >= 0).mean()), 1 / DRAWS)))


def resampled_means(values: ArrayLike, seed: int = 0) -> NDArray[np.float64]:
    """Means of DRAWS resamples of the table (runs, prompts), (DRAWS,)."""
    table = np.atleast_2d(np.asarray(values, float))
    if not table.size or not np.isfinite(table).all():
        raise ValueError("a mean needs values, and all of them finite")
    draw = np.random.default_rng(seed)
    runs, prompts = (shares(draw, n) for n in table.shape)
    return ((runs @ table) * prompts).sum(1)


def shares(draw: np.random.Generator, n: int) -> NDArray[np.float64]:
    """How much of each of DRAWS resamples every one of n units makes up, (DRAWS, n); rows sum to 1."""
    return draw.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n
