"""The maths of a drift budget against brute force."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.drift import Drift, read_bound, rows_to_mix, select_rows
from curation.errors import InputError

# whole numbers, so that sums are exact and equality means equality
values = st.lists(st.tuples(st.integers(-9, 9), st.integers(-9, 9)), max_size=9)
bounds = st.integers(-30, 30)


def columns(rows: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    danger, safety = np.array(rows, dtype=float).reshape(-1, 2).T
    return danger, safety


def largest(risks: list[int], bound: float) -> int | None:
    """The size of the largest subset with a sum of at most `bound`, by trying all of them."""
    sizes = (n for n in range(len(risks), -1, -1) if any(sum(s) <= bound for s in combinations(risks, n)))
    return next(sizes, None)


@given(values, bounds)
def test_no_larger_set_stays_under_the_bound(rows: list[tuple[int, int]], bound: int) -> None:
    risks = [d - s for d, s in rows]
    best = largest(risks, bound)
    if best is None:
        with pytest.raises(InputError, match="no choice of these rows"):
            select_rows(*columns(rows), bound)
        return
    found = select_rows(*columns(rows), bound)
    assert found.kept == best
    kept = found.order[: found.kept].tolist()
    assert len(set(kept)) == best
    assert sum(risks[i] for i in kept) == found.after.net <= bound
    assert found.after == Drift(best, sum(rows[i][0] for i in kept), sum(rows[i][1] for i in kept))
    assert found.before == Drift(len(rows), sum(d for d, _ in rows), sum(s for _, s in rows))


@given(values, bounds)
def test_no_row_that_is_kept_is_riskier_than_one_that_is_dropped(
    rows: list[tuple[int, int]], bound: int
) -> None:
    if sum(min(d - s, 0) for d, s in rows) > bound:
        return
    found = select_rows(*columns(rows), bound)
    risks = np.array([d - s for d, s in rows])[found.order]
    assert (risks == found.risk).all()
    if 0 < found.kept < len(rows):
        assert risks[: found.kept].max() <= risks[found.kept :].min()


@given(values, st.integers(0, 30), st.integers(0, 30))
def test_a_higher_bound_keeps_no_fewer_rows(rows: list[tuple[int, int]], low: int, more: int) -> None:
    assert select_rows(*columns(rows), low).kept <= select_rows(*columns(rows), low + more).kept


@given(values)
def test_at_zero_a_mean_and_a_sum_choose_the_same_rows(rows: list[tuple[int, int]]) -> None:
    found = select_rows(*columns(rows), 0)
    assert found.after.mean <= 0
    risks = sorted(d - s for d, s in rows)
    assert all(sum(risks[:k]) / k > 0 for k in range(found.kept + 1, len(risks) + 1))


def test_of_equal_rows_the_first_in_review_order_is_dropped() -> None:
    found = select_rows(np.array([2.0, 1.0, 1.0, 1.0]), np.zeros(4), 2)
    assert found.order.tolist() == [3, 2, 1, 0]
    assert found.kept == 2


def test_a_million_rows_are_chosen_from_at_once() -> None:
    draw = np.random.default_rng(0)
    danger, safety = draw.normal(1, 3, 1_000_000), draw.normal(0, 3, 1_000_000)
    found = select_rows(danger, safety, 0)
    assert found.after.net == pytest.approx(0, abs=20)
    assert found.after.net <= 1e-6
    assert 500_000 < found.kept < 900_000


@given(st.integers(-50, 200), st.integers(-9, 9), bounds)
def test_as_many_rows_are_mixed_in_as_it_takes_and_not_one_more(net: int, mean: int, bound: int) -> None:
    n = rows_to_mix(net, mean, bound)
    if n is None:
        assert net > bound
        assert mean >= 0
    else:
        assert net + n * mean <= bound
        assert n == 0 or net + (n - 1) * mean > bound


def test_a_bound_is_a_number_or_a_share_of_the_whole() -> None:
    assert [read_bound(text, 8.0) for text in ("0", "-2.5", " 3e2 ", "50%", "0 %", "125%")] == [
        0, -2.5, 300, 4, 0, 10,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "net"), [("half", 8.0), ("", 8.0), ("nan", 8.0), ("inf%", 8.0), ("50%", -1.0)]
)
def test_a_bound_that_means_nothing_is_refused(text: str, net: float) -> None:
    with pytest.raises(InputError):
        read_bound(text, net)
