"""Working through a plan: the start, then cell by cell what has no result yet.

Stopping it at any moment loses the cell in hand and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.measure import machine
from benchmarks.study.arms import rankings_of, rows_of
from benchmarks.study.data import Data, Row, read_data
from benchmarks.study.plan import Cell, Plan
from benchmarks.study.results import START, Results, scores_name
from benchmarks.study.scores import columns
from benchmarks.study.train import tuned
from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.evaluate.measure import Probes, measure
from curation.evaluate.summary import to_json
from curation.sqsd.models import LoadedModel, load_model

Say = Callable[[str, int, int], None]
"""Told what is being done, and how many cells are done of how many."""


def run(plan: Plan, data_folder: Path, results: Results, say: Say) -> None:
    """Do what is missing, in the plan's order."""
    todo = results.missing()
    total = len(list(plan.cells()))
    if not todo:
        return
    say("loading", total - len(todo), total)
    judge, loaded = Judge.load(), load_model(plan.start.model)
    data = read_data(data_folder, plan, loaded, judge)
    probes = data.probes(plan)
    made_with = {"model": loaded.revision, "judge": judge.fingerprint}
    start = results.get(START)
    if start is None:
        say("start", total - len(todo), total)
        asked = measure(loaded.model, loaded, probes, judge, new_tokens=plan.probing.new_tokens)
        results.put(START, {"machine": machine(), **made_with, **to_json(asked)})
    elif made_with != {name: start[name] for name in made_with}:
        raise InputError(
            f"the results of {plan.name} were made with another model or judge than there is now",
            "Give the plan another name: results of both do not mix.",
        )
    pool = cache(lambda seed: data.pool(plan, seed))
    for done, cell in enumerate(todo, start=total - len(todo)):
        say(f"{cell.arm}, seed {cell.seed}", done, total)
        stored = scores(plan, results, pool(cell.seed), cell.seed)
        results.put(cell.file_name, work(plan, cell, data, pool(cell.seed), stored, loaded, probes, judge))
    say("done", total, total)


def scores(plan: Plan, results: Results, pool: tuple[Row, ...], seed: int) -> dict[str, Any]:
    """The columns of a seed's pool, computed once; a ranking that joins the plan later adds its own."""
    stored = results.get(scores_name(seed)) or {"columns": None}
    found = columns(pool, plan.start, rankings_of(plan), stored["columns"], plan.other)
    if found != stored["columns"]:
        results.put(scores_name(seed), {"rows": [row.name for row in pool], "columns": found})
    return found


def work(
    plan: Plan, cell: Cell, data: Data, pool: tuple[Row, ...], stored: dict[str, Any],
    loaded: LoadedModel, probes: Probes, judge: Judge,
) -> dict[str, Any]:  # fmt: skip
    """One cell: choose the rows, fine-tune, measure."""
    began = time.monotonic()
    rows = rows_of(cell.arm, data, pool, stored, cell.seed)
    with tuned(loaded, rows, plan.recipe, cell.seed) as trained:
        asked = measure(trained.model, loaded, probes, judge, new_tokens=plan.probing.new_tokens)
    return {
        "arm": cell.arm,
        "seed": cell.seed,
        "rows": len(rows),
        "mean_answer_tokens": round(sum(row.encoded.n_trained for row in rows) / len(rows), 2),
        "tokens": trained.tokens,
        "training_loss": trained.losses,
        "seconds": round(time.monotonic() - began),
        **to_json(asked),
    }
