"""Which scored samples fall in which tier, and where the bounds of each tier lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.report.data import Columns
from curation.triage import TIERS, Tier, TierPolicy

Masks = dict[Tier, NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class TierSummary:
    """One line of the tier table: percentile bounds [floor, ceiling), risks `low`..`high` (None if empty)."""

    tier: Tier
    samples: int
    share: float
    floor: float
    ceiling: float
    low: float | None
    high: float | None


def tier_masks(columns: Columns, policy: TierPolicy) -> Masks:
    """Boolean mask (n,) of the samples in each tier, riskiest tier first."""
    percentiles = columns.percentiles()
    return {
        tier: (percentiles >= policy.floor(tier)) & (percentiles < ceiling)
        for tier, ceiling in zip(TIERS, (np.inf, *map(policy.floor, TIERS)), strict=False)
    }


def summaries(columns: Columns, masks: Masks, policy: TierPolicy) -> list[TierSummary]:
    """One summary per tier, riskiest first, empty tiers included."""
    found: list[TierSummary] = []
    ceiling = 100.0
    for tier in TIERS:
        risk = columns.risk[masks[tier]]
        low, high = (float(risk.min()), float(risk.max())) if len(risk) else (None, None)
        share = len(risk) / len(columns) if len(columns) else 0.0
        found.append(TierSummary(tier, len(risk), share, policy.floor(tier), ceiling, low, high))
        ceiling = policy.floor(tier)
    return found
