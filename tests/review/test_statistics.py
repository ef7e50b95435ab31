"""Numbers about reviewers and about the order come from decisions, with intervals that hold what they claim."""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from sqlalchemy import Engine

from curation.errors import InputError
from curation.ledger import reading
from curation.review.agreement import agreement
from curation.review.budget import Budget, budget
from curation.review.outcomes import Interval, Outcomes, outcomes
from curation.review.plot import write_budget
from curation.review.precision import precision_at, wilson
from tests.gate.builders import SCORER, House, reviewed


def found(house: House, rule: Any = "any-reject") -> Outcomes:
    from curation.ledger import find_scorer

    with reading(house.engine) as conn:
        return outcomes(conn, house.dataset.id, find_scorer(conn, SCORER).id, rule)


def placed(n: int, above: Any, rejected: Any, **more: Any) -> Outcomes:
    values: dict[str, Any] = {
        "conflicts": 0,
        "undecided": 0,
        "votes": {},
        "pairs": {},
        "decisions": 0,
        "reviewers": {},
    }
    return Outcomes(n, np.asarray(above, dtype=np.int64), np.asarray(rejected, dtype=bool), **(values | more))


def test_outcomes_stand_at_their_place_in_the_order(ledger: Engine) -> None:
    house = reviewed(ledger, 6)
    house.decide("reject", "t0", "t3", by="bob", minute=1)
    house.decide("withdraw", "t5", minute=1)
    house.write({9: "unscored", 3: "edited"})
    house.decide("reject", "unscored", by="bob")
    seen = found(house)
    assert (seen.n, seen.above.tolist(), seen.rejected.tolist()) == (
        5,
        [0, 1, 2, 3],
        [True, False, True, False],
    )
    assert (seen.conflicts, seen.undecided, seen.decisions) == (2, 0, 10)
    assert seen.votes == {(1, 1): 2, (1, 0): 3, (0, 1): 1}
    assert seen.pairs == {("ada", "bob"): Counter({(False, True): 2})}
    assert found(house, "unanimous").undecided == 2


def test_agreement_is_perfect_absent_or_undefined() -> None:
    alike = {("a", "b"): Counter({(True, True): 12, (False, False): 8})}
    perfect = agreement(placed(0, [], [], votes={(2, 0): 8, (0, 2): 12, (1, 0): 5}, pairs=alike))
    assert perfect.n == 20
    assert perfect.alpha
    assert perfect.pairs[0].kappa
    assert perfect.alpha.value == perfect.pairs[0].kappa.value == 1.0
    one_sided = agreement(
        placed(0, [], [], votes={(2, 0): 20}, pairs={("a", "b"): Counter({(False, False): 20})})
    )
    assert (one_sided.alpha, one_sided.pairs[0].kappa, one_sided.pairs[0].same) == (None, None, 20)
    assert agreement(placed(0, [], [], votes={(1, 0): 3})).alpha is None


def test_agreement_by_chance_is_about_zero_and_its_interval_holds_it() -> None:
    rng = np.random.default_rng(5)
    votes: Counter[tuple[int, int]] = Counter()
    table: Counter[tuple[bool, bool]] = Counter()
    for first, second in rng.random((400, 2)) < 0.3:
        votes[int(2 - first - second), int(first) + int(second)] += 1
        table[bool(first), bool(second)] += 1
    result = agreement(placed(0, [], [], votes=votes, pairs={("a", "b"): table}))
    for interval in (result.alpha, result.pairs[0].kappa):
        assert interval
        assert interval.low < 0 < interval.high
        assert interval.high - interval.low < 0.3


def test_precision_counts_decided_samples_only_and_equals_together() -> None:
    # ranks of decided samples: two of the three that share rank 10 are in the top 20 together
    rates = precision_at(placed(60, [0, 3, 9, 10, 10, 40], [1, 0, 1, 1, 0, 0]))
    assert [(one.k, one.decided, one.rejected) for one in rates] == [
        (10, 3, 2),
        (20, 5, 3),
        (50, 6, 3),
        (60, 6, 3),
    ]
    assert rates[0].rate
    assert rates[0].rate.low < 2 / 3 < rates[0].rate.high
    assert precision_at(placed(12, [11], [0]))[0].rate is None
    assert precision_at(placed(0, [], [])) == []


def test_wilson_is_the_textbook_interval() -> None:
    interval = wilson(8, 10)
    assert interval
    assert astuple(interval) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)


def simulated(seed: int, rate: Any, picked: str, n: int = 1500) -> tuple[np.ndarray, Budget]:
    """Who would be rejected, and the budget from 250 decisions of the top, of a random draw, or of both."""
    rng = np.random.default_rng(seed)
    truth = rng.random(n) < rate(np.arange(n))
    top, drawn = np.arange(250), rng.choice(n, 250, replace=False)
    chosen = {"top": top, "random": np.sort(drawn), "both": np.unique(np.r_[top[:125], drawn[:125]])}[picked]
    return truth, budget(placed(n, chosen, truth[chosen]))


RATES = {
    "steep": lambda rank: 0.6 * np.exp(-rank / 120) + 0.004,
    "flat": lambda rank: np.full(len(rank), 0.06),
    "mild": lambda rank: 0.3 * np.exp(-rank / 500) + 0.01,
}


@pytest.mark.parametrize("shape", RATES)
@pytest.mark.parametrize("picked", ["top", "random", "both"])
def test_the_true_budget_lies_within_the_interval_about_as_often_as_it_says(shape: str, picked: str) -> None:
    inside = asked = 0
    for seed in range(20):
        truth, made = simulated(seed, RATES[shape], picked)
        caught = np.cumsum(truth) / truth.sum()
        for needed in made.needed:
            true_depth = int(np.argmax(caught >= needed.share)) + 1
            inside += needed.rows.low - 5 <= true_depth <= needed.rows.high + 5  # depths are on a grid
            asked += 1
    assert inside / asked > 0.8


def test_reading_everything_leaves_nothing_open() -> None:
    rejected = np.zeros(300, dtype=bool)
    rejected[[0, 1, 2, 10, 200]] = True
    made = budget(placed(300, np.arange(300), rejected), shares=(0.5, 0.8, 0.99))
    assert [one.rows for one in made.needed] == [Interval(n, n, n) for n in (3, 11, 201)]
    assert made.total == Interval(5, 5, 5)
    assert not any(one.extrapolated for one in made.needed)


def test_what_lies_below_the_last_decision_is_said_to_be_extrapolated() -> None:
    rejected = np.arange(100) % 3 == 0
    made = budget(placed(10_000, np.arange(100), rejected))
    assert made.deepest == 100
    assert all(one.extrapolated for one in made.needed)
    assert made.total.low < 40
    assert made.total.high > 3000
    assert made.needed[0].rows.low < 60
    assert made.needed[0].rows.high > 4500


def test_without_a_rejection_no_row_is_better_than_another() -> None:
    made = budget(placed(1000, np.arange(20), np.zeros(20)))
    assert made.rejected == 0
    assert made.total.low == 0
    assert made.needed[0].rows.high >= 450


def test_a_budget_needs_decisions_and_a_share() -> None:
    with pytest.raises(InputError, match="no decision"):
        budget(placed(10, [], []))
    with pytest.raises(InputError, match="between 0 and 1"):
        budget(placed(10, [1], [1]), shares=(1.5,))


def test_the_figure_is_written_whole_as_svg_or_png(tmp_path: Path) -> None:
    made = budget(placed(500, np.arange(60), np.arange(60) < 20))
    write_budget(made, tmp_path / "b.svg")
    write_budget(made, tmp_path / "b.png")
    assert ET.parse(tmp_path / "b.svg").getroot().tag.endswith("svg")
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")
    for bad in (tmp_path / "b.pdf", tmp_path / "no" / "b.svg"):
        with pytest.raises(InputError):
            write_budget(made, bad)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.png", "b.svg"]
