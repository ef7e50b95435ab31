"""Intervals: how far a sample's rank moves when the anchors behind a scorer are drawn anew, told as risks.

They describe the dataset as it was when they were made; whoever makes them again replaces them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from curation.ledger import bulk
from curation.ledger.engine import writing
from curation.ledger.ranks import Ranks
from curation.ledger.tables import intervals, scores
from curation.triage import TIERS, Tier, TierPolicy, percentile

_BLOCK = 5_000


class Interval(NamedTuple):
    """5 % and 95 % of a sample's ranks over so many draws, as the risks and percentiles that stand there now.

    Higher = riskier, percentile 100 = riskiest.
    """

    risk_low: float
    risk_high: float
    percentile_low: float
    percentile_high: float
    draws: int


@dataclass(frozen=True, slots=True)
class Firmness:
    """Of a tier's samples: how many have an interval, and for how many its low end is in the tier, or above it."""

    tier: Tier
    samples: int
    firm: int


def keep_intervals(
    engine: Engine, scorer_id: int, rows: Iterable[tuple[int, float, float]], draws: int
) -> None:
    """Keep intervals, given as (sample, low, high), in place of earlier ones; a block of them at a time."""
    ordered = sorted(rows)
    for start in range(0, len(ordered), _BLOCK):
        values = [
            {"scorer_id": scorer_id, "sample_id": pk, "risk_low": low, "risk_high": high, "draws": draws}
            for pk, low, high in ordered[start : start + _BLOCK]
        ]
        with writing(engine) as conn:
            new = bulk.insert(conn, intervals)
            replaced = {name: new.excluded[name] for name in ("risk_low", "risk_high", "draws")}
            key = ["scorer_id", "sample_id"]
            conn.execute(new.on_conflict_do_update(index_elements=key, set_=replaced), values)


def intervals_of(
    conn: Connection, dataset_id: int, scorer_id: int, pks: Sequence[int]
) -> dict[int, Interval]:
    """Intervals of those samples (at most some thousands) that have one."""
    ranks = Ranks(conn, dataset_id, scorer_id)
    query = select(intervals).where(intervals.c.scorer_id == scorer_id, intervals.c.sample_id.in_(pks))
    return {
        row.sample_id: Interval(
            row.risk_low,
            row.risk_high,
            percentile(*ranks.place(row.risk_low)),
            percentile(*ranks.place(row.risk_high)),
            row.draws,
        )
        for row in conn.execute(query).all()
    }


def firmness(conn: Connection, dataset_id: int, scorer_id: int, policy: TierPolicy) -> list[Firmness]:
    """For each tier but the lowest, riskiest first, how firm it is; empty without intervals."""
    ranks = Ranks(conn, dataset_id, scorer_id)
    of_score = sa.and_(
        intervals.c.scorer_id == scores.c.scorer_id, intervals.c.sample_id == scores.c.sample_id
    )
    found: list[Firmness] = []
    for tier, band in ranks.bands(policy, TIERS[:-1]).items():
        floor = select(sa.func.min(scores.c.risk)).where(ranks.scored, band).scalar_subquery()
        kept = sa.func.count(sa.case((intervals.c.risk_low >= floor, 1)))
        query = select(sa.func.count(), kept).join_from(scores, intervals, of_score)
        samples, firm = conn.execute(query.where(ranks.scored, band)).one()
        found.append(Firmness(tier, samples, firm))
    return found if any(one.samples for one in found) else []
