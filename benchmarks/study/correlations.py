"""What rankings have in common with one another, with what came out, and with how far the weights drifted.

Nothing here decides a claim.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy.stats import spearmanr

from benchmarks.study.analysis import Outcome, arms_in_order
from benchmarks.study.arms import OF_POOL, WINDOWS, in_pool
from benchmarks.study.results import Results, scores_name
from benchmarks.study.scores import ranked_by, risk


def scorers(results: Results, wanted: Sequence[str]) -> dict[str, float]:
    """Spearman of SQSD's risk with other rankings' of the same rows, mean over the seeds' pools."""
    found: dict[str, list[float]] = {name: [] for name in wanted}
    for seed in results.plan.seeds:
        stored = results.get(scores_name(seed))
        if stored and "lora danger cosine" in stored["columns"]:  # a plan of controls alone ranks nothing
            own = risk("sqsd", stored["columns"], seed)
            for name in ranked_by(stored["columns"], wanted):
                found[name].append(float(spearmanr(own, risk(name, stored["columns"], seed))[0]))
    return {name: round(float(np.mean(values)), 3) for name, values in found.items() if values}


def followed(
    outcome: Outcome, results: Results, wanted: Sequence[str], what: Literal["outcome", "drift"] = "outcome"
) -> dict[str, dict[int, float]]:
    """Does the outcome, or the weights' drift, follow a ranking from arm to arm? Spearman, by ranking and seed.

    Of every arm of rows of the pool the mean risk of its rows, and its mean change (below 0: riskier rows cost more)
    or its net drift (above 0: riskier rows drift farther toward danger). For the outcome `drift` is one more ranking.
    Arms share rows, so chance spreads wider than for as many independent ones; nothing of this is registered.
    """
    found: dict[str, dict[int, float]] = {name: {} for name in (*wanted, "drift")}
    for seed in results.plan.seeds:
        stored = results.get(scores_name(seed))
        if not stored:
            continue
        ran = _of_pool(outcome, results, seed)
        moved = _drifts(outcome, ran, seed)
        change = {arm: float(outcome.change(arm, [seed]).mean()) for arm in ran}
        seen = moved if what == "drift" else change
        for name in ranked_by(stored["columns"], wanted) if len(seen) >= WINDOWS else ():
            values = risk(name, stored["columns"], seed)
            means = [values[in_pool(arm, stored["columns"], seed)].mean() for arm in seen]
            found[name][seed] = _spearman(means, [*seen.values()])
        if what == "outcome" and len(moved) >= WINDOWS:
            found["drift"][seed] = _spearman([*moved.values()], [change[arm] for arm in moved])
    return {name: values for name, values in found.items() if values}


def drift_and_change(outcome: Outcome, results: Results, seed: int) -> list[tuple[float, float]]:
    """Net drift and mean change of every arm of rows of the pool of which both were measured."""
    moved = _drifts(outcome, _of_pool(outcome, results, seed), seed)
    return [(drift, float(outcome.change(arm, [seed]).mean())) for arm, drift in moved.items()]


def _of_pool(outcome: Outcome, results: Results, seed: int) -> list[str]:
    """Arms of rows of the pool that were run with a seed."""
    arms = [arm for arm in arms_in_order(results) if arm.split(":")[0] in OF_POOL]
    return [arm for arm in arms if seed in outcome.seeds(arm)]


def _drifts(outcome: Outcome, arms: Sequence[str], seed: int) -> dict[str, float]:
    """Net drift of those of the arms of which it was measured."""
    return {arm: drift for arm in arms if (drift := net_drift(outcome, arm, seed)) is not None}


def _spearman(a: Sequence[float], b: Sequence[float]) -> float:
    return round(float(spearmanr(a, b)[0]), 3)


def net_drift(outcome: Outcome, arm: str, seed: int) -> float | None:
    """How far the weights moved, toward danger less toward safety: sums of cosines over modules, as a score has them.

    Mean over orders. None of cells from before this was measured.
    """
    drifts = [fact.get("drift") for fact in outcome.facts[arm] if fact["seed"] == seed]
    if None in drifts:
        return None
    return float(np.mean([drift["danger"]["cosine"] - drift["safety"]["cosine"] for drift in drifts]))
