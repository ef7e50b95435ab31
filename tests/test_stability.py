"""Bands, agreement and tiers under draws, against what a plain loop over them says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from curation.stability import MAX_PAIRS, assess, pairs
from curation.triage import TierPolicy, percentile

POLICY = TierPolicy(critical=90, high=70, medium=40)


def terms(n: int, draws: tuple[int, int], noise: float, seed: int = 0):
    """Risks, and terms whose draws differ from the scorer's own by noise and by a level and scale of their own."""
    rng = np.random.default_rng(seed)
    danger, safety = rng.normal(size=(n, 1)), rng.normal(size=(n, 1))
    along = [
        (term + noise * rng.normal(size=(n, k))) * rng.uniform(0.5, 2) + rng.normal(size=k)
        for term, k in zip((danger, safety), draws, strict=True)
    ]
    return (danger - safety)[:, 0], *along


def rho(a: Any, b: Any) -> float:
    found: Any = spearmanr(a, b)
    return found[0]


def test_bands_are_cut_from_the_ranks_under_every_pair_of_draws() -> None:
    risk, danger, safety = terms(40, (4, 3), 0.3)
    found = assess(risk, danger, safety, POLICY)
    above = np.array(
        [[sum(other > own for other in one) for own in one] for one in
         (danger[:, i] - safety[:, j] for i in range(4) for j in range(3))]
    )  # fmt: skip
    ordered = sorted(risk, reverse=True)
    for place in range(40):
        ranks = sorted(above[:, place])
        assert found.high[place] == ordered[ranks[0]]  # of 12 ranks the 5 % at an end are the last one
        assert found.low[place] == ordered[ranks[-1]]
    assert found.pairs == 12
    correlations = [rho(risk, danger[:, i] - safety[:, j]) for i in range(4) for j in range(3)]
    assert found.agreement.spearman == pytest.approx((np.mean(correlations), min(correlations)))
    overlaps = [(row[np.argsort(-risk)[:4]] < 4).mean() for row in above]
    assert found.agreement.top == pytest.approx((np.mean(overlaps), min(overlaps)))
    order = np.argsort(-risk)
    critical = order[: found.tiers["critical"][0]]
    always = sum(all(percentile(int(a), 40) >= 90 for a in above[:, place]) for place in critical)
    assert found.tiers["critical"] == (4, always)


def test_a_draw_that_only_shifts_and_stretches_all_risks_says_that_the_ranking_is_firm() -> None:
    risk, *_ = terms(30, (1, 1), 0)
    danger = np.stack([3 * risk + 100, 0.1 * risk - 7], 1)
    found = assess(risk, danger, np.zeros((30, 1)), POLICY)
    assert (found.low == risk).all()
    assert (found.high == risk).all()
    assert found.agreement.spearman == pytest.approx((1, 1))
    assert found.agreement.top == (1, 1)
    assert all(samples == always for samples, always in found.tiers.values())


def test_draws_that_agree_on_nothing_leave_no_sample_in_its_tier() -> None:
    rng = np.random.default_rng(3)
    found = assess(rng.normal(size=200), rng.normal(size=(200, 8)), np.zeros((200, 1)), POLICY)
    assert abs(found.agreement.spearman[0]) < 0.15
    assert found.tiers["critical"][1] == 0
    assert np.mean(found.high - found.low) > 2


def test_bands_hold_the_risk_of_a_typical_draw() -> None:
    risk, danger, safety = terms(100, (6, 6), 0.2)
    found = assess(risk, danger, safety, POLICY)
    assert (found.low <= found.high).all()
    assert set(found.low) | set(found.high) <= set(risk)
    assert ((found.low <= risk) & (risk <= found.high)).mean() > 0.7


def test_one_sample_and_equal_risks_are_ranked_too() -> None:
    one = assess(np.array([2.0]), np.array([[1.0, 3.0]]), np.array([[0.0]]), POLICY)
    assert (one.low[0], one.high[0]) == (2, 2)
    ties = assess(np.full(5, 1.0), np.full((5, 2), 4.0), np.zeros((5, 1)), POLICY)
    assert ties.low.tolist() == ties.high.tolist() == [1.0] * 5
    with pytest.raises(ValueError, match="no sample"):
        assess(np.array([]), np.zeros((0, 2)), np.zeros((0, 2)), POLICY)


@pytest.mark.parametrize(("danger", "safety"), [(1, 1), (8, 8), (8, 1), (1, 9), (16, 16), (20, 9)])
def test_every_draw_takes_part_and_no_pair_twice(danger: int, safety: int) -> None:
    found = pairs(danger, safety)
    assert len(found) == len(set(found)) == min(danger * safety, MAX_PAIRS)
    assert found == pairs(danger, safety)
    assert {i for i, _ in found} == set(range(danger))
    assert {j for _, j in found} == set(range(safety))
