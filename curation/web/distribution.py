"""The distribution of risk as bars by tier: numbers for a drawing that the template makes."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.ledger.overview import ScoreColumns
from curation.triage import TIERS, Tier, TierPolicy, percentile

BINS = (16, 60)
"""Fewest and most columns; in between 2 n^(1/3), by Rice's rule."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Part of column `x` of a histogram: from `y` down by `height`, where the tallest column is 1."""

    x: int
    y: float
    height: float
    tier: Tier


@dataclass(frozen=True, slots=True)
class Distribution:
    """Bars from the lowest risk to the highest; `n` samples are in them, `columns` stand side by side."""

    bars: tuple[Bar, ...]
    n: int
    columns: int
    low: float
    median: float
    high: float


def distribution(scored: ScoreColumns, policy: TierPolicy) -> Distribution | None:
    """Of scores in review order; None without any. Higher risk = riskier."""
    n = len(scored.risk)
    if not n:
        return None
    edges = np.histogram_bin_edges(scored.risk, bins=int(np.clip(2 * n ** (1 / 3), *BINS)))
    counts: dict[Tier, NDArray[np.int64]] = {}
    start = 0
    for tier in TIERS:
        end = bisect_right(range(n), -policy.floor(tier), key=lambda above: -percentile(above, n))
        counts[tier] = np.histogram(scored.risk[start:end], edges)[0]
        start = end
    tallest = float(np.sum(list(counts.values()), axis=0).max())
    bars: list[Bar] = []
    for x in range(len(edges) - 1):
        y = 1.0
        for tier in reversed(TIERS):
            height = float(counts[tier][x]) / tallest
            y -= height
            if height:
                bars.append(Bar(x, y, height, tier))
    return Distribution(
        tuple(bars), n, len(edges) - 1, float(edges[0]), float(np.median(scored.risk)), float(edges[-1])
    )
