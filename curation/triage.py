"""From a rank to a tier: how risky a sample is compared with the rest of its dataset.

A risk score has no absolute scale, so people are shown its percentile within one dataset and one scorer
(100 = riskiest) and a tier cut from that percentile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from curation.errors import InputError

Tier = Literal["critical", "high", "medium", "low"]

TIERS: tuple[Tier, ...] = get_args(Tier)
"""All tiers, riskiest first."""


def percentile(above: int, n: int) -> float:
    """Percentile (0-100, 100 = riskiest) of a sample with `above` strictly riskier ones among `n` scored.

    100 * (1 - above / (n - 1)); a lone sample is at 100. Equal risks have the same `above`, so ties share
    the higher percentile.
    """
    if not 0 <= above < n:
        raise ValueError(f"{above} samples above one of {n}")
    # One division of whole numbers rounds once: a sample exactly on a tier's threshold stays in that tier.
    return 100 * (n - 1 - above) / (n - 1) if n > 1 else 100.0


@dataclass(frozen=True, slots=True)
class TierPolicy:
    """Lowest percentile of each tier; what is below `medium` is low.

    Raises InputError unless 100 >= critical > high > medium >= 0.
    """

    critical: float = 98.0
    high: float = 90.0
    medium: float = 70.0

    def __post_init__(self) -> None:
        if not 100 >= self.critical > self.high > self.medium >= 0:
            raise InputError(
                f"tiers at {self.critical:g}, {self.high:g} and {self.medium:g}: not descending percentiles",
                "Give three percentiles between 100 and 0: critical > high > medium.",
            )

    def tier(self, percentile: float) -> Tier:
        """The tier of a sample at this percentile (0-100, 100 = riskiest)."""
        if percentile >= self.critical:
            return "critical"
        if percentile >= self.high:
            return "high"
        return "medium" if percentile >= self.medium else "low"

    def floor(self, tier: Tier) -> float:
        """Lowest percentile that still belongs to `tier`."""
        return {"critical": self.critical, "high": self.high, "medium": self.medium, "low": 0.0}[tier]
