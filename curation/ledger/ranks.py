"""Where a risk stands among the scores of one dataset by one scorer: a sum over cells and a count inside one of them.

No rank is stored, so none can be out of date, and no query sorts, numbers or counts the whole dataset.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from itertools import pairwise

import sqlalchemy as sa
from sqlalchemy import Connection, ScalarSelect, select

from curation.ledger.cells import bounds, cell_at, cell_of, total
from curation.ledger.tables import scores, tallies
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

    def total(self) -> ScalarSelect[int]:
        """How many there are, for use in a query."""
        return total(self.dataset_id, self.scorer_id)

    def place(self, risk: float) -> tuple[int, int]:
        """How many scores are strictly riskier, and how many there are in all."""
        # One statement, so that a score written meanwhile is in both counts or in neither.
        above, n = self.conn.execute(select(self._above(risk), self.total())).one()
        return above, n

    def sizes(self, policy: TierPolicy) -> dict[Tier, int]:
        """How many scores are in each tier at this moment."""
        floors = self._floors(policy, TIERS)
        in_all, *down_to = self.conn.execute(
            select(self.total(), *(self._above(risk, included=True) for risk in floors.values()))
        ).one()
        ends = [*down_to, in_all] if floors else [0] * len(TIERS)
        return {tier: end - start for tier, start, end in zip(TIERS, [0, *ends], ends, strict=False)}

    def bands(
        self, policy: TierPolicy, tiers: Collection[Tier] = TIERS
    ) -> dict[Tier, sa.ColumnElement[bool]]:
        """For each wanted tier, riskiest first, the range of risk that it is at this moment."""
        floors = self._floors(policy, tiers)
        bands: dict[Tier, sa.ColumnElement[bool]] = {}
        for higher, tier in zip((None, *TIERS), TIERS, strict=False):
            if tier in tiers and floors:
                over = [scores.c.risk >= floors[tier]] if tier in floors else []  # low has no floor
                under = [scores.c.risk < floors[higher]] if higher else []
                bands[tier] = sa.and_(*over, *under)
        return bands

    def _floors(self, policy: TierPolicy, tiers: Collection[Tier]) -> dict[Tier, float]:
        """The lowest risk of each wanted tier and of the one above it, riskiest first; empty without scores."""
        n = self.conn.execute(select(self.total())).scalar_one()
        if not n:
            return {}
        return {
            tier: self._lowest_risk(policy.floor(tier), n)
            for tier, next_tier in pairwise(TIERS)
            if tier in tiers or next_tier in tiers
        }

    def _lowest_risk(self, percentile_floor: float, n: int) -> float:
        """The lowest risk among the scores at or over a percentile."""
        # percentile() falls as `above` grows: find the largest `above` that still passes, with the very
        # function the percentile is shown by, so that rounding cannot put a sample in two tiers or none.
        place = bisect_right(range(n), -percentile_floor, key=lambda above: -percentile(above, n)) - 1
        cell, before = cell_at(self.conn, self.dataset_id, self.scorer_id, place)
        here = scores.c.risk.between(*bounds(cell))
        ranked = select(scores.c.risk).where(self.scored, here).order_by(scores.c.risk.desc())
        return self.conn.execute(ranked.offset(place - before).limit(1)).scalar_one()

    def _above(self, risk: float, *, included: bool = False) -> sa.ColumnElement[int]:
        """How many scores are riskier, with `included` those of the same risk too."""
        cell = cell_of(risk)
        over = scores.c.risk >= risk if included else scores.c.risk > risk
        in_cell = select(sa.func.count()).select_from(scores)
        in_cell = in_cell.where(self.scored, over, scores.c.risk <= bounds(cell)[1])
        return total(self.dataset_id, self.scorer_id, tallies.c.cell > cell) + in_cell.scalar_subquery()
