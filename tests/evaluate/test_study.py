"""A study can be stopped at any moment and goes on with what is missing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.study.data import read_data
from benchmarks.study.plan import Cell, Plan
from benchmarks.study.results import Results, scores_name
from benchmarks.study.run import run
from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.sqsd.models import load_model


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """Stands for a signal in the middle of the work."""


def _stop_after(cells: int) -> Callable[[str, int, int], None]:
    def say(_: str, done: int, total: int) -> None:
        if done == cells:
            raise Stopped

    return say


def quiet(*_: object) -> None: ...


def _numbers(results: Results) -> dict[str, Any]:
    """Every stored result but how long it took."""
    found = {file.name: json.loads(file.read_bytes()) for file in results.folder.glob("*.json")}
    for values in found.values():
        values.pop("seconds", None)
        values.pop("machine", None)
    return found


def test_a_stopped_study_goes_on_and_ends_as_if_it_had_never_stopped(
    plan: Plan, data: Path, tmp_path: Path
) -> None:
    whole, stopped = Results.of(plan, tmp_path / "whole"), Results.of(plan, tmp_path / "stopped")
    run(plan, data, whole, quiet)
    with pytest.raises(Stopped):
        run(plan, data, stopped, _stop_after(1))
    assert len(stopped.missing()) == 3
    kept = stopped.folder / Cell("window:sqsd:1", 0).file_name
    before = kept.stat().st_mtime_ns
    run(plan, data, stopped, quiet)
    assert not stopped.missing()
    stored = stopped.get(kept.name)
    assert stored is not None
    assert len(stored["training_loss"]) == plan.recipe.steps
    assert len(stored["loss"]) == plan.probing.utility
    assert kept.stat().st_mtime_ns == before
    assert _numbers(stopped) == _numbers(whole)


def test_a_finished_study_does_nothing_more(plan: Plan, data: Path, tmp_path: Path) -> None:
    results = Results.of(plan, tmp_path)
    run(plan, data, results, quiet)
    run(plan, tmp_path / "no data is needed", results, quiet)


def test_no_text_of_the_data_is_stored(plan: Plan, data: Path, tmp_path: Path) -> None:
    results = Results.of(plan, tmp_path)
    run(plan, data, results, quiet)
    stored = "".join(file.read_text() for file in results.folder.glob("*.json"))
    assert "hing" not in stored  # "Name thing 3.", "A thing it is."
    assert "Ask" not in stored


def test_results_of_a_changed_plan_do_not_mix(plan: Plan, tmp_path: Path) -> None:
    Results.of(plan, tmp_path).put("start.json", {})
    changed = dataclasses.replace(plan, recipe=dataclasses.replace(plan.recipe, steps=3))
    with pytest.raises(InputError, match="other settings"):
        Results.of(changed, tmp_path).get("start.json")
    more_seeds = dataclasses.replace(plan, seeds=(0, 1, 2))
    assert Results.of(more_seeds, tmp_path).get("start.json") == {"plan": plan.fingerprint}


def test_results_of_another_judge_or_model_do_not_mix(plan: Plan, data: Path, tmp_path: Path) -> None:
    results = Results.of(plan, tmp_path)
    with pytest.raises(Stopped):
        run(plan, data, results, _stop_after(1))
    start = results.get("start.json")
    assert start is not None
    results.put("start.json", start | {"judge": "another one"})
    with pytest.raises(InputError, match="another model or judge"):
        run(plan, data, results, quiet)


def test_an_interrupted_write_leaves_no_result(plan: Plan, tmp_path: Path) -> None:
    results = Results.of(plan, tmp_path)
    with pytest.raises(TypeError):
        results.put("start.json", {"unwritable": object()})
    assert results.get("start.json") is None
    assert not list(results.folder.iterdir())


def test_scores_are_stored_by_rows_that_can_be_found_again(plan: Plan, data: Path, tmp_path: Path) -> None:
    results = Results.of(plan, tmp_path)
    run(plan, data, results, quiet)
    stored = results.get(scores_name(1))
    assert stored is not None
    pool = read_data(data, plan, load_model(plan.start.model), Judge.load()).pool(plan, 1)
    assert stored["rows"] == [row.name for row in pool]
