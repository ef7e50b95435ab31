"""Intervals know of runs as well as of prompts."""

from __future__ import annotations

import numpy as np
import pytest

from curation.evaluate.measure import Measured
from curation.evaluate.statistics import Interval, hierarchical, two_sided_p
from curation.evaluate.summary import READS, from_json, summarise, to_json


def test_the_mean_is_the_mean_and_lies_in_its_interval() -> None:
    values = np.random.default_rng(0).normal(2, 1, (4, 30))
    found = hierarchical(values)
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high


def test_one_run_is_a_bootstrap_over_prompts() -> None:
    values = np.random.default_rng(1).normal(0, 1, 400)
    found = hierarchical(values)
    assert (found.high - found.low) == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_runs_that_differ_widen_the_interval_however_many_prompts_there_are() -> None:
    luck = np.array([[-1.0], [0.0], [1.0], [2.0]])
    noise = np.random.default_rng(2).normal(0, 0.1, (4, 5000))
    same, different = hierarchical(noise), hierarchical(luck + noise)
    assert same.high - same.low < 0.02
    assert different.high - different.low > 1


def test_the_same_values_give_the_same_interval() -> None:
    values = [[1.0, 2.0, 4.0], [0.0, 3.0, 5.0]]
    assert hierarchical(values) == hierarchical(values)


@pytest.mark.parametrize("values", [[], [[]], [1.0, float("nan")], [[1.0, float("inf")]]])
def test_values_that_have_no_mean_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        hierarchical(values)


def test_an_interval_excludes_zero_on_one_side() -> None:
    assert Interval(1, 0.5, 2).excludes_zero
    assert Interval(-1, -2, -0.5).excludes_zero
    assert not Interval(0.2, -0.1, 0.5).excludes_zero


def test_p_is_small_far_from_zero_and_one_at_zero() -> None:
    noise = np.random.default_rng(3).normal(0, 1, (3, 40))
    assert two_sided_p(5 + noise) == pytest.approx(1e-4)
    assert two_sided_p(np.zeros((3, 4))) == 1.0


def _run(shift: float, refusals: int) -> Measured:
    replies = tuple("refusal" if i < refusals else "answer" for i in range(4))
    return Measured(np.arange(4.0) + shift, np.zeros(0), replies, (), np.array([2.0, 3.0 + shift]))


def test_changes_are_paired_with_the_start_prompt_by_prompt() -> None:
    found = summarise([_run(-1, 2), _run(-1, 2)], [_run(0, 4)])
    assert found["margin_change"] == Interval(
        -1, -1, -1
    )  # though the margins themselves differ between prompts
    assert found["margin"].high - found["margin"].low > 1
    assert found["refused"].mean == 0.5
    assert found["refused_change"].mean == -0.5
    assert found["utility_loss_change"].mean == pytest.approx(-0.5)


def test_what_was_not_asked_is_not_in_the_summary_and_all_else_is_explained() -> None:
    found = summarise([_run(0, 4)])
    assert list(found) == ["margin", "refused", "degenerate", "utility_loss"]
    assert set(found) <= set(READS)


def test_a_measured_model_survives_json() -> None:
    run = _run(0.5, 3)
    again = from_json(to_json(run))
    assert again.replies == run.replies
    assert again.margin.tolist() == run.margin.tolist()
    assert again.loss.tolist() == run.loss.tolist()
