"""Arms are what they say, and differ in nothing but their rows."""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.study.arms import matched, rankings_of, remove, rows_of, window
from benchmarks.study.data import Row, read_data
from benchmarks.study.plan import Plan, Recipe, read_plan
from benchmarks.study.scores import columns
from benchmarks.study.train import batches, tuned
from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.samples import Sample
from curation.sqsd.encode import encode
from curation.sqsd.models import LoadedModel, load_model
from tests.sqsd.tiny import tiny_model, tiny_tokenizer

SHIPPED_PLANS = sorted((Path(__file__).parents[2] / "benchmarks" / "study").glob("*.toml"))


@pytest.mark.parametrize("file", SHIPPED_PLANS, ids=lambda file: file.stem)
def test_every_arm_of_a_shipped_plan_exists(plan: Plan, data: Path, file: Path) -> None:
    shipped = read_plan(file)
    found = read_data(data, plan, load_model(plan.start.model), Judge.load())
    pool = found.pool(plan, 0)
    stored = columns(pool, plan.start, rankings_of(shipped), other=plan.start if shipped.other else None)
    for arm in dict.fromkeys(cell.arm for cell in shipped.cells()):
        assert rows_of(arm, found, pool, stored, 0)


@pytest.mark.parametrize("arm", ["window:nothing:1", "window:sqsd", "pools", "remove:sqsd:30:1"])
def test_an_unknown_arm_is_named(plan: Plan, data: Path, arm: str) -> None:
    found = read_data(data, plan, load_model(plan.start.model), Judge.load())
    with pytest.raises(InputError, match="there is no arm"):
        rows_of(arm, found, found.pool(plan, 0), {}, 0)


def test_pools_of_two_seeds_share_no_row_and_keep_away_from_utility(plan: Plan, data: Path) -> None:
    found = read_data(data, plan, load_model(plan.start.model), Judge.load())
    first, second = ({row.sample.id for row in found.pool(plan, seed)} for seed in plan.seeds)
    assert not first & second
    assert not (first | second) & {row.sample.id for row in found.held_out}
    with pytest.raises(InputError, match="too few"):
        found.pool(dataclasses.replace(plan, seeds=(7, 8, 9, 10)), 10)


def test_windows_share_out_the_pool_from_the_riskiest_down() -> None:
    values = np.random.default_rng(0).random(23)
    windows = [window(values, k) for k in range(1, 6)]
    assert sorted(i for w in windows for i in w) == list(range(23))
    assert all(values[a].min() > values[b].max() for a, b in pairwise(windows))


def test_removal_takes_the_riskiest() -> None:
    values = np.random.default_rng(1).random(20)
    kept = remove(values, 30)
    assert len(kept) == 14
    assert values[kept].max() < np.delete(values, kept).min()


def test_matched_windows_are_equal_in_length_and_differ_in_risk() -> None:
    draw = np.random.default_rng(2)
    lengths = np.repeat(np.arange(8.0), 5)
    values = lengths * 10 + draw.random(40)  # risk is almost only length
    first, last = matched(values, lengths, 1), matched(values, lengths, 5)
    assert lengths[first].tolist() == lengths[last].tolist()
    assert (values[first] > values[last]).all()


def _rows(loaded: LoadedModel, lengths: list[int]) -> list[Row]:
    samples = [
        Sample.from_messages([{"role": "user", "content": "Go"}, {"role": "assistant", "content": "ab" * n}])
        for n in lengths
    ]
    return [Row(sample, encode(sample, loaded.tokenizer, 1024)) for sample in samples]


@pytest.mark.parametrize("lengths", [[3] * 40, [5, 9, 2, 12, 30], [50]])
def test_every_arm_takes_the_same_steps_within_the_same_tokens(lengths: list[int]) -> None:
    order = batches(lengths, steps=7, budget=30, seed=0)
    assert len(order) == 7
    for batch in order:
        assert batch
        assert sum(lengths[i] for i in batch) <= max(30, max(lengths))
    seen = [i for batch in order for i in batch]
    counts = [seen.count(i) for i in range(len(lengths))]
    assert max(counts) - min(counts) <= 1  # epochs: nothing comes twice before all came once
    assert (
        order == batches(lengths, steps=7, budget=30, seed=0) != batches(lengths, 7, 30, seed=1)
        or len(lengths) == 1
    )


@pytest.mark.parametrize("update", ["lora", "full"])
def test_a_fine_tune_learns_and_gives_the_model_back_as_it_was(update: Any) -> None:
    loaded = LoadedModel(tiny_model("llama"), tiny_tokenizer(), "tiny", "0")
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    recipe = Recipe(update, steps=20, step_tokens=120, learning_rate=0.01)
    with tuned(loaded, _rows(loaded, [4, 6, 8]), recipe, seed=0) as trained:
        assert trained.losses[-1] < 0.8 * trained.losses[0]
        assert not trained.model.training
    after = loaded.model.state_dict()
    assert set(after) == set(before)
    assert all(np.array_equal(after[name].numpy(), tensor.numpy()) for name, tensor in before.items())
    assert not any(p.requires_grad for p in loaded.model.parameters())
