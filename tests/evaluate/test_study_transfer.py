"""One scorer's scores, another model's training: both ways that differ from the plain study end in results."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.study.data import read_data
from benchmarks.study.plan import Plan, Start, read_plan
from benchmarks.study.results import FOLDER, Results, scores_name
from benchmarks.study.run import run
from benchmarks.study.scores import columns
from benchmarks.study.show import as_json, tables
from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.sqsd.models import load_model
from tests.sqsd.tiny import random_adapter, save_adapter, save_tiny, tiny_model

PLANS = Path(__file__).parents[2] / "benchmarks" / "study"


def _quiet(*_: object) -> None: ...


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Start:
    """A scorer of another architecture, with adapters of its own."""
    folder = tmp_path_factory.mktemp("other")
    model = save_tiny("qwen2", folder / "model", seed=5)
    names = ("danger", "safety", "danger_state")
    made = {
        name: str(
            save_adapter(random_adapter(tiny_model("qwen2", seed=5), 2, seed=seed), folder / f"{name}-b")
        )
        for seed, name in enumerate(names, start=7)
    }
    return Start(str(model), **made)


def test_rows_are_ranked_by_the_other_scorer_and_trained_on_at_the_start(
    plan: Plan, data: Path, other: Start, tmp_path: Path
) -> None:
    arms = ("window:sqsd-other:5", "window:matching-other:5", "window:sqsd-fresh:1", "window:sqsd:1")
    transfer = dataclasses.replace(plan, name="transfer", seeds=(0,), stages=(arms,), other=other)
    assert transfer.fingerprint != plan.fingerprint
    results = Results.of(transfer, tmp_path)
    run(transfer, data, results, _quiet)
    assert not results.missing()
    stored = (results.get(scores_name(0)) or {})["columns"]
    assert not np.allclose(stored["other danger cosine"], stored["lora danger cosine"])
    # the very numbers that a study of the other model would have
    own = dataclasses.replace(plan, start=other, seeds=(0,))
    pool = read_data(data, plan, load_model(plan.start.model), Judge.load()).pool(transfer, 0)
    theirs = columns(pool, own.start, ["sqsd", "matching"])
    assert stored["other danger cosine"] == theirs["lora danger cosine"]
    assert stored["other-matched danger"] == theirs["matched danger"]
    found = as_json(results)
    assert "window:sqsd-other:5" in found["arms"]
    assert -1 <= found["spearman_with_sqsd"]["sqsd-other"] <= 1
    assert len(list(tables(results))) == 4


def test_lora_scores_choose_rows_for_training_all_weights(plan: Plan, data: Path, tmp_path: Path) -> None:
    recipe = dataclasses.replace(plan.recipe, update="full", learning_rate=0.001)
    full = dataclasses.replace(
        plan, name="full", seeds=(0,), recipe=recipe, stages=(("window:sqsd:1", "window:sqsd-full:1"),)
    )
    results = Results.of(full, tmp_path)
    run(full, data, results, _quiet)
    stored = (results.get(scores_name(0)) or {})["columns"]
    assert {"lora danger cosine", "full danger cosine"} <= set(stored)
    assert not results.missing()


def test_ranking_by_another_scorer_needs_one(plan: Plan, data: Path) -> None:
    pool = read_data(data, plan, load_model(plan.start.model), Judge.load()).pool(plan, 0)
    with pytest.raises(InputError, match="names none"):
        columns(pool, plan.start, ["sqsd-other"])


def test_a_plan_names_the_sets_that_its_harmful_prompts_are_of(plan: Plan, data: Path) -> None:
    loaded, judge = load_model(plan.start.model), Judge.load()

    def asked(*names: str) -> set[str]:
        probing = dataclasses.replace(plan.probing, asked=list(names))
        return set(read_data(data, dataclasses.replace(plan, probing=probing), loaded, judge).harmful)

    unsafe = asked("xstest-unsafe")
    # those that settings were chosen with are not asked
    assert len(unsafe) == 27 - 24
    assert unsafe < {f"Unsafe {i}" for i in range(27)}
    assert asked("malicious-instruct", "xstest-unsafe") == unsafe | {"Wish ill 1", "Wish ill 2"}
    assert set(read_data(data, plan, loaded, judge).harmful) == asked("advbench")
    with pytest.raises(InputError, match="called gossip"):
        asked("advbench", "gossip")


@pytest.mark.parametrize("folder", sorted(FOLDER.iterdir()), ids=lambda folder: folder.name)
def test_results_that_are_there_are_of_the_plan_that_is_there(folder: Path) -> None:
    """A change of what a fingerprint is made of would orphan them."""
    shipped = read_plan(PLANS / f"{folder.name}.toml")
    results = Results.of(shipped)
    assert results.get(scores_name(shipped.seeds[0]))
    assert {json.loads(file.read_bytes())["plan"] for file in folder.glob("*.json")} == {shipped.fingerprint}
