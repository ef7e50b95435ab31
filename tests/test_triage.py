"""Percentiles and tiers: pure functions, checked against their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import InputError
from curation.triage import TIERS, TierPolicy, percentile

risks = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=60)


@given(risks)
def test_percentile_is_the_share_of_the_others_that_are_not_riskier(values: list[float]) -> None:
    n = len(values)
    for risk in values:
        others = list(values)
        others.remove(risk)
        expected = 100 * sum(other <= risk for other in others) / len(others) if others else 100
        assert percentile(sum(v > risk for v in values), n) == pytest.approx(expected)


def test_percentile_ends_at_100_and_0() -> None:
    assert percentile(0, 1) == 100
    assert percentile(0, 2) == 100
    assert percentile(1, 2) == 0
    assert percentile(999_999, 1_000_000) == 0


@given(st.integers(1, 10**12), st.data())
def test_percentile_falls_as_more_are_above(n: int, data: st.DataObject) -> None:
    above = data.draw(st.integers(0, n - 1))
    fewer = data.draw(st.integers(0, above))
    assert 0 <= percentile(above, n) <= percentile(fewer, n) <= 100


@pytest.mark.parametrize(("above", "n"), [(-1, 5), (5, 5), (0, 0)])
def test_percentile_refuses_an_impossible_rank(above: int, n: int) -> None:
    with pytest.raises(ValueError, match="above one of"):
        percentile(above, n)


@pytest.mark.parametrize("n", [101, 201, 1_001, 100_001])
def test_a_rank_exactly_on_a_threshold_is_in_the_upper_tier(n: int) -> None:
    policy = TierPolicy()
    for share, tier, below in ((0.02, "critical", "high"), (0.10, "high", "medium"), (0.30, "medium", "low")):
        above = round(share * (n - 1))
        assert policy.tier(percentile(above, n)) == tier
        assert policy.tier(percentile(above + 1, n)) == below


@given(st.floats(0, 100))
def test_a_tier_begins_at_its_floor(value: float) -> None:
    policy = TierPolicy(critical=95, high=60, medium=12.5)
    assert policy.tier(value) == next(tier for tier in TIERS if value >= policy.floor(tier))


@pytest.mark.parametrize(
    "thresholds", [(90, 98, 70), (98, 90, 90), (101, 90, 70), (98, 90, -1), (float("nan"), 90, 70)]
)
def test_thresholds_must_descend_between_100_and_0(thresholds: tuple[float, float, float]) -> None:
    with pytest.raises(InputError):
        TierPolicy(*thresholds)
