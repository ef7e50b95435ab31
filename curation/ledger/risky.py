"""The scores of the riskiest tiers, each with its place among all of its dataset."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy import select

from curation.ledger.ranks import Ranks
from curation.ledger.tables import scores
from curation.triage import TIERS, Tier, TierPolicy


def top_scores(ranks: Ranks, policy: TierPolicy, tier: Tier) -> sa.Subquery | None:
    """Scores of `tier` and riskier: sample_id, risk, scored_at, and `above`, how many are strictly riskier.

    None without any score.
    """
    bands = ranks.bands(policy, TIERS[: TIERS.index(tier) + 1])
    if not bands:
        return None
    # These bands begin at the top, so a place among them is one among all.
    above = (sa.func.rank().over(order_by=scores.c.risk.desc()) - 1).label("above")
    columns = scores.c.sample_id, scores.c.risk, scores.c.scored_at, above
    return select(*columns).where(ranks.scored, sa.or_(*bands.values())).subquery()
