"""Rankings rank every row, and claims are decided by the rules written down."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from benchmarks.study.analysis import read_outcome
from benchmarks.study.arms import in_pool
from benchmarks.study.claims import claims
from benchmarks.study.correlations import followed
from benchmarks.study.data import Row, read_data
from benchmarks.study.plan import Cell, Plan
from benchmarks.study.results import Results, scores_name
from benchmarks.study.scores import RANKINGS, columns, risk
from curation.evaluate.judge import Judge
from curation.sqsd.directions import read_anchors
from curation.sqsd.encode import encode
from curation.sqsd.models import load_model


def test_every_ranking_ranks_every_row(plan: Plan, data: Path) -> None:
    found = read_data(data, plan, load_model(plan.start.model), Judge.load())
    pool = found.pool(plan, 0)
    stored = columns(pool, plan.start, list(RANKINGS), other=plan.start)
    for name in RANKINGS:
        values = risk(name, stored, seed=0)
        assert np.isfinite(values).all(), name
        assert len(set(values)) == len(pool), f"{name}: ties are broken"
    assert (np.argsort(risk("random", stored, 0)) != np.argsort(risk("random", stored, 1))).any()
    lengths = np.array(stored["answer tokens"])
    assert (lengths[np.argsort(risk("length", stored, 0))] == np.sort(lengths)).all()


def test_a_ranking_that_joins_later_adds_its_columns_and_changes_none(plan: Plan, data: Path) -> None:
    found = read_data(data, plan, load_model(plan.start.model), Judge.load())
    pool = found.pool(plan, 0)
    first = columns(pool, plan.start, ["sqsd"])
    later = columns(
        pool, plan.start, ["sqsd", "he-representation"], {k: [v + 1 for v in c] for k, c in first.items()}
    )
    assert set(later) - set(first) == {"representation similarity"}
    assert np.allclose(
        later["lora loss"], np.array(first["lora loss"]) + 1, atol=1e-4
    )  # kept, not computed again


def test_gradient_matching_finds_the_anchors_themselves(plan: Plan) -> None:
    loaded = load_model(plan.start.model)
    rows = {
        name: [Row(s, encode(s, loaded.tokenizer, 1024)) for s in read_anchors(name).samples[:3]]
        for name in ("danger", "safety")
    }
    for name in ("matching", "he-gradient", "he-representation"):
        both = columns([*rows["danger"], *rows["safety"]], plan.start, [name])
        risks = risk(name, both, seed=0)
        assert min(risks[:3]) > max(risks[3:]), name


def _fake(results: Results, arm: str, seed: int, level: float) -> None:
    noise = np.random.default_rng(seed).normal(0, 0.1, 12)
    results.put(
        Cell(arm, seed).file_name,
        {
            "seed": seed,
            "margin": (level + noise).tolist(),
            "harmless_margin": [],
            "replies": ["refusal"] * 12,
            "harmless_replies": [],
            "loss": [2.0, 2.1],
        },
    )


@pytest.mark.parametrize(("slope", "verdict"), [(0.5, "holds"), (0.0, "fails"), (-0.5, "fails")])
def test_claims_are_decided_by_the_rules_written_down(
    plan: Plan, tmp_path: Path, slope: float, verdict: str
) -> None:
    arms = [f"window:sqsd:{k}" for k in range(1, 6)]
    removals = ["remove:sqsd:30", "remove:random:30", "remove:length:30", "remove:gradient-norm:30"]
    made = dataclasses.replace(plan, seeds=(0, 1, 2), stages=((*arms, *removals),))
    results = Results.of(made, tmp_path)
    results.put(
        "start.json",
        {"margin": [5.0] * 12, "harmless_margin": [], "replies": [], "harmless_replies": [], "loss": []},
    )
    for seed in made.seeds:
        jitter = np.random.default_rng(seed + 10).normal(0, 0.01, 20)
        for k, arm in enumerate(arms):
            _fake(results, arm, seed, slope * k + jitter[k])
        for k, arm in enumerate(removals):
            _fake(results, arm, seed, (slope if k == 0 else 0) + jitter[10 + k])
    others = [arm.replace("sqsd", "sqsd-other") for arm in arms]
    for seed in made.seeds:
        for arm, other in zip(arms, others, strict=True):
            stored = results.get(Cell(arm, seed).file_name) or {}
            results.put(Cell(other, seed).file_name, {k: v for k, v in stored.items() if k != "plan"})
    transfer = dataclasses.replace(made, stages=(*made.stages, tuple(others)))
    assert claims(read_outcome(Results.of(transfer, tmp_path)))["C4"]["verdict"] == verdict
    found = claims(read_outcome(results))
    assert found["C1"]["verdict"] == verdict
    assert found["C2"]["30 %"]["verdict"] == verdict
    assert found["C2"]["10 %"]["verdict"] == "not run"
    # (a) alone cannot carry C3, and can sink it
    assert found["C3"]["verdict"] == ("not run" if verdict == "holds" else "fails")
    assert found["C4"]["verdict"] == "not run"


def test_an_outcome_that_follows_a_ranking_is_seen_to(plan: Plan, tmp_path: Path) -> None:
    arms = [*(f"window:sqsd:{k}" for k in range(1, 6)), "pool", "remove:sqsd:30", "refusals"]
    made = dataclasses.replace(plan, seeds=(4,), stages=(tuple(arms),))
    results = Results.of(made, tmp_path)
    draw = np.random.default_rng(0)
    stored = {
        "lora danger cosine": draw.normal(size=50).tolist(),
        "lora safety cosine": draw.normal(size=50).tolist(),
        "answer tokens": [7.0] * 50,
        "list": [0.0] * 50,
    }
    results.put(scores_name(4), {"rows": [], "columns": stored})
    blank = {"harmless_margin": [], "replies": [], "harmless_replies": [], "loss": []}
    results.put("start.json", {"margin": [0.0] * 12, **blank})
    risks = risk("sqsd", stored, 4)
    for arm in arms:
        # what is not of the pool has no risk, and must not count
        level = 9.0 if arm == "refusals" else -risks[in_pool(arm, stored, 4)].mean()
        _fake(results, arm, 4, level)
    found = followed(read_outcome(results), results, ["sqsd", "danger-only", "sqsd-other"])
    assert found["sqsd"] == {4: -1.0}
    assert -1 < found["danger-only"][4] < 0
    assert "sqsd-other" not in found
    assert "drift" not in found, "cells from before it was measured"
    assert not followed(read_outcome(results), results, ["sqsd"], "drift")
    for arm in arms:
        cell = results.get(Cell(arm, 4).file_name) or {}
        toward = 0.0 if arm == "refusals" else float(risks[in_pool(arm, stored, 4)].mean())
        drift = {"danger": {"cosine": toward / 2}, "safety": {"cosine": -toward / 2}}
        results.put(Cell(arm, 4).file_name, {k: v for k, v in cell.items() if k != "plan"} | {"drift": drift})
    outcome = read_outcome(results)
    assert followed(outcome, results, ["sqsd"], "drift") == {"sqsd": {4: 1.0}}
    assert followed(outcome, results, ["sqsd"]) == {"sqsd": {4: -1.0}, "drift": {4: -1.0}}
    few = dataclasses.replace(made, stages=(tuple(arms[:4]),))
    assert not followed(read_outcome(Results.of(few, tmp_path)), Results.of(few, tmp_path), ["sqsd"])
