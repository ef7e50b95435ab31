"""Working through a plan: the start, then cell by cell what has no result yet.

Stopping it at any moment loses the cell in hand and nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from filelock import Timeout
from transformers import PreTrainedModel

from benchmarks.measure import machine
from benchmarks.study.align import start_of
from benchmarks.study.arms import rankings_of, rows_of
from benchmarks.study.data import Data, Row, read_data
from benchmarks.study.plan import Cell, Plan, Start
from benchmarks.study.projections import adapter
from benchmarks.study.results import Results, scores_name, start_name
from benchmarks.study.scores import columns
from benchmarks.study.train import tuned
from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.evaluate.measure import Measured, Probes, measure
from curation.evaluate.summary import to_json
from curation.sqsd.adapters import Adapter
from curation.sqsd.models import LoadedModel, load_model

Say = Callable[[str, int, int], None]
"""Told what is being done, and how many cells are done of how many."""


def run(plan: Plan, data_folder: Path, results: Results, say: Say) -> None:
    """Do what is missing, in the plan's order; what another process has in hand is left to it."""
    cells = list(plan.cells())
    if not results.missing():
        return

    def note(what: str) -> None:
        say(what, len(cells) - len(results.missing()), len(cells))

    note("loading")
    judge, load = Judge.load(), lru_cache(maxsize=1)(load_model)
    begin = cache(lambda seed: start_of(plan, seed, data_folder, note))
    data = read_data(data_folder, plan, load(begin(plan.seeds[0]).model), judge)
    probes, pool = data.probes(plan), cache(lambda seed: data.pool(plan, seed))
    for cell in results.missing():
        try:
            claim = results.lock(cell.file_name).acquire(blocking=False)
        except Timeout:
            continue
        with claim:
            if results.get(cell.file_name):
                continue
            start = begin(cell.seed)
            loaded = load(start.model)
            check_start(plan, results, cell.seed, loaded, probes, judge, note)
            note(f"{cell.arm}, seed {cell.seed}" + (f", order {cell.order}" if plan.orders > 1 else ""))
            stored = scores(plan, start, results, pool(cell.seed), cell.seed)
            results.put(
                cell.file_name, work(plan, cell, start, data, pool(cell.seed), stored, loaded, probes, judge)
            )
    note("done")


def check_start(
    plan: Plan, results: Results, seed: int, loaded: LoadedModel, probes: Probes, judge: Judge,
    note: Callable[[str], None],
) -> None:  # fmt: skip
    """Measure a start once. Raises InputError if what is there was measured of another model, or judged otherwise."""
    made_with = {"model": loaded.revision, "judge": judge.fingerprint}
    name = start_name(plan, seed)
    with results.lock(name):
        start = results.get(name)
        if start is None:
            note(name.removesuffix(".json"))
            asked = asked_of(loaded.model, plan, loaded, probes, judge)
            results.put(name, {"machine": machine(), **made_with, **to_json(asked)})
        elif made_with != {key: start[key] for key in made_with}:
            raise InputError(
                f"the results of {plan.name} were made with another model or judge than there is now",
                "Give the plan another name: results of both do not mix.",
            )


def scores(plan: Plan, start: Start, results: Results, pool: tuple[Row, ...], seed: int) -> dict[str, Any]:
    """The columns of a seed's pool, computed once; a ranking that joins the plan later adds its own."""
    name = scores_name(seed)
    with results.lock(name):
        stored = results.get(name) or {"columns": None}
        found = columns(pool, start, rankings_of(plan), stored["columns"], plan.other)
        if found != stored["columns"]:
            results.put(name, {"rows": [row.name for row in pool], "columns": found})
        return found


def asked_of(
    model: PreTrainedModel, plan: Plan, loaded: LoadedModel, probes: Probes, judge: Judge
) -> Measured:
    """What the plan's outcome needs of one model."""
    return measure(
        model, loaded, probes, judge, new_tokens=plan.probing.new_tokens, margins=plan.outcome == "margin"
    )


def work(
    plan: Plan, cell: Cell, start: Start, data: Data, pool: tuple[Row, ...], stored: dict[str, Any],
    loaded: LoadedModel, probes: Probes, judge: Judge,
) -> dict[str, Any]:  # fmt: skip
    """One cell: choose the rows, fine-tune, measure replies, and how far the weights moved along the directions."""
    began = time.monotonic()
    rows = rows_of(cell.arm, data, pool, stored, cell.seed)
    directions = {name: Adapter.load(adapter(getattr(start, name))) for name in ("danger", "safety")}
    with tuned(loaded, rows, plan.recipe, cell.training_seed, directions) as trained:
        asked = asked_of(trained.model, plan, loaded, probes, judge)
    return {
        "arm": cell.arm,
        "seed": cell.seed,
        "order": cell.order,
        "rows": len(rows),
        "mean_answer_tokens": round(sum(row.encoded.n_trained for row in rows) / len(rows), 2),
        "tokens": trained.tokens,
        "training_loss": trained.losses,
        "drift": {
            name: {"cosine": along.cosine, "projection": along.projection, "norm": along.norm}
            for name, along in trained.drift.items()
        },
        "seconds": round(time.monotonic() - began),
        **to_json(asked),
    }
