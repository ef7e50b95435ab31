"""An arm trained in several orders: runs of their own, one change, and what is due to rows and what to order."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks.study import show
from benchmarks.study.analysis import read_outcome
from benchmarks.study.data import read_data
from benchmarks.study.orders import chance, mean_squares, rows_or_order
from benchmarks.study.plan import Cell, Plan
from benchmarks.study.results import Results
from benchmarks.study.run import run
from curation.evaluate.judge import Judge
from curation.sqsd.models import load_model


def test_orders_train_on_the_same_rows_and_differ_in_nothing_else(
    plan: Plan, data: Path, tmp_path: Path
) -> None:
    again = dataclasses.replace(plan, orders=2, seeds=(0,))
    results = Results.of(again, tmp_path)
    run(again, data, results, lambda *_: None)
    first, second = (results.get(Cell("window:sqsd:1", 0, order).file_name) for order in (0, 1))
    assert first is not None
    assert second is not None
    assert first["rows"] == second["rows"]
    assert first["mean_answer_tokens"] == second["mean_answer_tokens"]
    assert first["training_loss"] != second["training_loss"]
    once = Results.of(plan, tmp_path / "once")
    run(plan, data, once, lambda *_: None)
    alone = once.get(Cell("window:sqsd:1", 0).file_name)
    assert alone is not None
    assert alone["training_loss"] == first["training_loss"], (
        "the first order is that of a study without others"
    )


def test_pools_that_are_skipped_belong_to_other_studies(plan: Plan, data: Path) -> None:
    found = read_data(data, plan, load_model(plan.start.model), Judge.load())
    later = dataclasses.replace(plan, seeds=(1,), pool=dataclasses.replace(plan.pool, skip=1))
    assert found.pool(later, 1) == found.pool(plan, 1)
    assert later.fingerprint != plan.fingerprint


def test_an_arm_counts_when_all_its_orders_are_there(plan: Plan, tmp_path: Path) -> None:
    made = dataclasses.replace(plan, orders=2, seeds=(0, 1), stages=(("pool",),))
    results = Results.of(made, tmp_path)
    blank = {"harmless_margin": [], "replies": [], "harmless_replies": []}
    results.put("start.json", {"margin": [1.0, 2.0], "loss": [3.0], **blank})
    for order, margin, loss in ((0, [0.0, 2.0], 1.0), (1, [1.0, 0.0], 2.0)):
        cell = {"seed": 0, "margin": margin, "loss": [loss], **blank}
        results.put(Cell("pool", 0, order).file_name, cell)
    results.put(Cell("pool", 1).file_name, {"seed": 1, "margin": [9.0, 9.0], "loss": [9.0], **blank})
    outcome = read_outcome(results)
    assert outcome.seeds("pool") == [0]
    assert outcome.change("pool", [0]).tolist() == [[-0.5, -1.0]]
    assert outcome.run_means("pool", 0).tolist() == [-0.5, -1.0]
    assert outcome.utility("pool", 0).tolist() == [1.5]
    assert outcome.summary("pool")["utility_loss_change"].mean == -1.5


@pytest.mark.parametrize("by_rows", [True, False])
def test_what_rows_and_what_orders_make_out_is_told_apart(plan: Plan, tmp_path: Path, by_rows: bool) -> None:
    arms = tuple(f"window:random:{k}" for k in range(1, 6))
    made = dataclasses.replace(plan, orders=3, seeds=(0, 1, 2), stages=(arms,))
    results = Results.of(made, tmp_path)
    blank = {"harmless_margin": [], "replies": ["refusal"], "harmless_replies": ["answer"], "loss": [1.0]}
    results.put("start.json", {"margin": [0.0] * 4, **blank})
    draw = np.random.default_rng(0)
    for seed in made.seeds:
        for arm in arms:
            own = draw.normal()
            for order in range(3):
                level = own + 0.3 * draw.normal() if by_rows else draw.normal()
                cell = {"seed": seed, "rows": 4, "tokens": 9, "mean_answer_tokens": 3, "seconds": 1}
                results.put(
                    Cell(arm, seed, order).file_name, {**cell, "margin": [level - 1, level + 1] * 2, **blank}
                )
    outcome = read_outcome(results)
    found = rows_or_order(outcome, "random")
    assert found is not None
    assert (found.p < 0.05) is by_rows
    assert (found.share > 0.7) is by_rows
    assert set(found.share_by_seed) == set(found.spread) == {0, 1, 2}
    assert rows_or_order(outcome, "sqsd") is None, "never run"
    assert any("Rows or order" in part for part in show.tables(results) if isinstance(part, str))
    assert show.as_json(results)["rows_or_order"] == [found]


def test_mean_squares_are_those_of_an_analysis_of_variance() -> None:
    between, within = mean_squares(np.array([[1.0, 3.0], [5.0, 7.0], [3.0, 5.0]]))
    assert between == pytest.approx(8.0)  # 2 * var(2, 6, 4)
    assert within == pytest.approx(2.0)


def test_runs_that_follow_their_windows_are_no_chance_and_others_are_as_often_as_p_says() -> None:
    level = np.arange(5.0)[None, :, None] + np.zeros((3, 5, 3))
    noise = np.random.default_rng(1).normal(0, 0.01, (50, *level.shape))
    assert chance(level + noise[0]) == pytest.approx(1 / 10_001)
    found = np.array([chance(one) for one in noise])
    assert 0.08 < (found < 0.2).mean() < 0.34
    assert 0.35 < found.mean() < 0.65
