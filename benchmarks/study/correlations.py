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
    arms = [arm for arm in arms_in_order(results) if arm.split(":")[0] in OF_POOL]
    for seed in results.plan.seeds:
        ran = [arm for arm in arms if seed in outcome.seeds(arm)]
        moved = [drift for arm in ran if (drift := net_drift(outcome, arm, seed)) is not None]
        stored = results.get(scores_name(seed))
        if len(ran) < WINDOWS or not stored or (what == "drift" and len(moved) < len(ran)):
            continue
        change = [float(outcome.change(arm, [seed]).mean()) for arm in ran]
        seen = moved if what == "drift" else change
        for name in ranked_by(stored["columns"], wanted):
            values = risk(name, stored["columns"], seed)
            means = [values[in_pool(arm, stored["columns"], seed)].mean() for arm in ran]
            found[name][seed] = round(float(spearmanr(means, seen)[0]), 3)
        if what == "outcome" and len(moved) == len(ran):
            found["drift"][seed] = round(float(spearmanr(moved, change)[0]), 3)
    return {name: values for name, values in found.items() if values}


def net_drift(outcome: Outcome, arm: str, seed: int) -> float | None:
    """How far a cell's weights moved, toward danger less toward safety: sums of cosines over modules, as a score has
    them. None of cells from before this was measured.
    """
    drift = next(fact.get("drift") for fact in outcome.facts[arm] if fact["seed"] == seed)
    return drift and drift["danger"]["cosine"] - drift["safety"]["cosine"]
