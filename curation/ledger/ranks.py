"""Where a risk stands among the scores of one dataset by one scorer: counts of index ranges, nothing else.

No rank is stored, so none can be out of date, and no query sorts or numbers the whole dataset.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy import Connection, ScalarSelect, select

from curation.ledger.tables import scores
from curation.triage import TIERS, Tier, TierPolicy, percentile


@dataclass(frozen=True, slots=True)
class Ranks:
    """The scores that one scorer gave in one dataset."""

    conn: Connection
    dataset_id: int
    scorer_id: int

    @property
    def scored(self) -> sa.ColumnElement[bool]:
        """Condition that picks these scores."""
        return sa.and_(scores.c.scorer_id == self.scorer_id, scores.c.dataset_id == self.dataset_id)

    def count(self, *where: sa.ColumnElement[bool]) -> ScalarSelect[int]:
        """How many there are, or how many of them meet the conditions, for use in a query."""
        return select(sa.func.count()).select_from(scores).where(self.scored, *where).scalar_subquery()

    def place(self, risk: float) -> tuple[int, int]:
        """How many scores are strictly riskier, and how many there are in all."""
        # One statement, so that a score written meanwhile is in both counts or in neither.
        above, n = self.conn.execute(select(self.count(scores.c.risk > risk), self.count())).one()
        return above, n

    def bands(
        self, policy: TierPolicy, tiers: Collection[Tier] = TIERS
    ) -> dict[Tier, sa.ColumnElement[bool]]:
        """For each wanted tier, riskiest first, the range of risk that it is at this moment."""
        n = self.conn.execute(select(self.count())).scalar_one()
        if not n:
            return {}
        floors = {
            tier: self._lowest_risk(policy.floor(tier), n)
            for tier, next_tier in pairwise(TIERS)
            if tier in tiers or next_tier in tiers
        }
        bands: dict[Tier, sa.ColumnElement[bool]] = {}
        for higher, tier in zip((None, *TIERS), TIERS, strict=False):
            if tier in tiers:
                over = [scores.c.risk >= floors[tier]] if tier in floors else []  # low has no floor
                under = [scores.c.risk < floors[higher]] if higher else []
                bands[tier] = sa.and_(*over, *under)
        return bands

    def _lowest_risk(self, percentile_floor: float, n: int) -> float:
        """The lowest risk among the scores at or over a percentile."""
        # percentile() falls as `above` grows: find the largest `above` that still passes, with the very
        # function the percentile is shown by, so that rounding cannot put a sample in two tiers or none.
        passing = bisect_right(range(n), -percentile_floor, key=lambda above: -percentile(above, n))
        ranked = select(scores.c.risk).where(self.scored).order_by(scores.c.risk.desc())
        return self.conn.execute(ranked.offset(passing - 1).limit(1)).scalar_one()
