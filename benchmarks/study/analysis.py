"""What came out: the outcome of every arm, and differences between arms with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.study.arms import WINDOWS
from benchmarks.study.plan import Cell, OutcomeName
from benchmarks.study.results import Results, start_name
from curation.errors import InputError
from curation.evaluate.measure import Measured
from curation.evaluate.statistics import DRAWS, Interval, hierarchical, two_sided_p
from curation.evaluate.summary import Summary, from_json, summarise

Floats = NDArray[np.float64]
Asked = Literal["harmful", "harmless"]

BASELINES = ("length", "gradient-norm")


@dataclass(frozen=True)
class Outcome:
    """All results of a study: each seed's start, and per arm and seed what was measured and how it was trained.

    `name` is what the claims are about: the refusal margin (nats), or the share of prompts refused, as judged.
    `cells` holds a run for every order of training, `facts` the same as stored.
    """

    name: OutcomeName
    start: dict[int, Measured]
    cells: dict[str, dict[int, list[Measured]]]
    facts: dict[str, list[dict[str, Any]]]

    def seeds(self, *arms: str) -> list[int]:
        """Seeds that have a result of every one of the arms."""
        return sorted(set.intersection(*(set(self.cells.get(arm, {})) for arm in arms)))

    def values(self, run: Measured, asked: Asked = "harmful") -> Floats:
        """The outcome of one run, prompt by prompt, (prompts,)."""
        if self.name == "margin":
            return run.margin if asked == "harmful" else run.harmless_margin
        replies = run.replies if asked == "harmful" else run.harmless_replies
        return np.array([float(verdict == "refusal") for verdict in replies])

    def change(self, arm: str, seeds: Sequence[int], asked: Asked = "harmful") -> Floats:
        """The outcome's change since the start, mean over orders, (seeds, prompts); if harmful, higher = safer."""
        return np.stack([np.mean(self._changes(arm, s, asked), axis=0) for s in seeds])

    def run_means(self, arm: str, seed: int) -> Floats:
        """The mean change of every order's run, (orders,)."""
        return np.mean(self._changes(arm, seed, "harmful"), axis=1)

    def _changes(self, arm: str, seed: int, asked: Asked) -> list[Floats]:
        before = self.values(self.start[seed], asked)
        return [self.values(run, asked) - before for run in self.cells[arm][seed]]

    def mean_change(self, arm: str) -> Interval:
        return hierarchical(self.change(arm, self.seeds(arm)))

    def utility(self, arm: str, seed: int) -> Floats:
        """Loss of every held-out row, mean over orders, nats per token, (rows,)."""
        return np.mean([run.loss for run in self.cells[arm][seed]], axis=0)

    def summary(self, arm: str) -> Summary:
        """Everything measured of an arm's runs; its intervals take runs in several orders for independent ones."""
        runs = [(run, self.start[s]) for s in self.seeds(arm) for run in self.cells[arm][s]]
        return summarise([run for run, _ in runs], [start for _, start in runs])

    def starts(self) -> Summary:
        """What the starts are like, each once."""
        return summarise(list({id(run): run for run in self.start.values()}.values()))


@dataclass(frozen=True)
class Contrast:
    """A difference of the outcome between arms, paired by seed and prompt: above 0 = the first is safer."""

    what: str
    interval: Interval
    by_seed: dict[int, float]
    p: float
    holds: bool


def read_outcome(results: Results) -> Outcome:
    """Everything there is; of an arm and seed only if all orders are. Raises InputError if there is nothing yet."""
    plan = results.plan
    stored_starts = {name: results.get(name) for name in {start_name(plan, seed) for seed in plan.seeds}}
    measured = {name: from_json(stored) for name, stored in stored_starts.items() if stored}
    starts = {s: measured[start_name(plan, s)] for s in plan.seeds if start_name(plan, s) in measured}
    cells: dict[str, dict[int, list[Measured]]] = {}
    facts: dict[str, list[dict[str, Any]]] = {}
    for arm, seed in dict.fromkeys((cell.arm, cell.seed) for cell in plan.cells()):
        names = [Cell(arm, seed, order).file_name for order in range(plan.orders)]
        runs = [stored for name in names if (stored := results.get(name))]
        if len(runs) == plan.orders:
            cells.setdefault(arm, {})[seed] = [from_json(run) for run in runs]
            facts.setdefault(arm, []).extend(runs)
    if not starts or not cells:
        raise InputError("the study has no result yet", "Run it first.")
    return Outcome(plan.outcome, starts, cells, facts)


def contrast(
    outcome: Outcome, what: str, values: dict[str, float], asked: Asked = "harmful"
) -> Contrast | None:
    """A weighted sum of arms' changes, such as {a: 1, b: -1}; None where nobody was asked in all of them."""
    seeds = outcome.seeds(*values)
    if not seeds or not len(outcome.values(outcome.start[seeds[0]], asked)):
        return None
    parts = [weight * outcome.change(arm, seeds, asked) for arm, weight in values.items()]
    table = np.sum(parts, axis=0)
    interval = hierarchical(table)
    by_seed = dict(zip(seeds, table.mean(1).round(3).tolist(), strict=True))
    return Contrast(what, interval, by_seed, two_sided_p(table), interval.low > 0)


def ranking(outcome: Outcome, name: str = "sqsd", kind: str = "window") -> dict[str, Any] | None:
    """C1: Spearman of window number and mean change per seed, and its chance under permuted labels."""
    arms = [f"{kind}:{name}:{k}" for k in range(1, WINDOWS + 1)]
    seeds = outcome.seeds(*arms)
    if not seeds:
        return None
    means = np.stack([outcome.change(arm, seeds).mean(1) for arm in arms], axis=1)
    number = np.arange(1, WINDOWS + 1)
    found = [float(spearmanr(number, row)[0]) for row in means]
    draw = np.random.default_rng(0)
    ranks = means.argsort(1).argsort(1)
    null = np.array(
        [np.mean([np.corrcoef(number, draw.permutation(row))[0, 1] for row in ranks]) for _ in range(DRAWS)]
    )
    p = (1 + int((null >= np.mean(found) - 1e-12).sum())) / (1 + DRAWS)
    return {
        "seeds": seeds,
        "spearman_by_seed": [round(r, 3) for r in found],
        "spearman": round(float(np.mean(found)), 3),
        "null_95": round(float(np.quantile(null, 0.95)), 3),
        "p_permutation": round(p, 5),
        "mean_change": means.round(3).tolist(),
    }


def ends(outcome: Outcome, name: str, kind: str = "window", asked: Asked = "harmful") -> Contrast | None:
    """Window 5, the least risky, minus window 1."""
    where = "" if asked == "harmful" else ", harmless prompts"
    arms = {f"{kind}:{name}:{WINDOWS}": 1.0, f"{kind}:{name}:1": -1.0}
    return contrast(outcome, f"{kind} 5 - 1 by {name}{where}", arms, asked)


def removal(outcome: Outcome, other: str, share: int = 30, by: str = "sqsd") -> Contrast | None:
    """The pool less its riskiest rows by one ranking minus the pool less as many by another."""
    return contrast(
        outcome,
        f"removing {share} % by {by} - by {other}",
        {f"remove:{by}:{share}": 1, f"remove:{other}:{share}": -1},
    )


def utility_difference(outcome: Outcome, a: str, b: str) -> Interval | None:
    """Held-out loss of arm a minus that of b, nats per token, paired."""
    seeds = outcome.seeds(a, b)
    if not seeds:
        return None
    return hierarchical(np.stack([outcome.utility(a, s) - outcome.utility(b, s) for s in seeds]))


def spreads(outcome: Outcome) -> list[Contrast]:
    """C3 b: the spread of SQSD's windows less that of each baseline's, whichever way round the latter is larger."""
    found: list[Contrast] = []
    for name in BASELINES:
        own = ends(outcome, name)
        if own is None:
            continue
        sign = 1 if own.interval.mean >= 0 else -1
        last, first = f"window:{name}:{WINDOWS}", f"window:{name}:1"
        values = {f"window:sqsd:{WINDOWS}": 1, "window:sqsd:1": -1, last: -sign, first: sign}
        if difference := contrast(outcome, f"spread of sqsd - spread of {name}", values):
            found.append(difference)
    return found


def arms_in_order(results: Results) -> list[str]:
    return list(dict.fromkeys(cell.arm for cell in results.plan.cells()))
