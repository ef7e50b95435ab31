"""How much of a ranking is chance: one scorer with re-drawn anchors, other seeds, other batches, another data type.

    python -m benchmarks.stability [--draws 2] [--seeds 2] [--rows 120] [--out benchmarks/results/stability]

- *anchors*: both directions fitted again on bootstrap draws of their anchor rows, with their own seed, as `curation
  directions resample` does; every draw of the one goes with every draw of the other.
- *danger anchors*, *safety anchors*: only the one, the other direction as it is.
- *seeds*: both fitted again on the very same rows with other seeds (initial LoRA, dropout, order).
- *batches*: the scorer itself with other token budgets, on some rows.
- *dtype*: the scorer itself with weights rounded to bf16, on the same rows, and all in bf16, on a few short ones.

States stay what they are, so one pass per state serves all directions. Ranks are compared with those by the scorer
that ships, over rows of the demo set: Spearman's correlation and the overlap of the riskiest tenth, with 95 %
bootstrap intervals over rows and draws. Fits lie in the home (--home). Every part leaves a small file: run again, it
goes on.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from benchmarks.measure import DEMO, parser, read_rows, spread, write
from curation.samples import Sample
from curation.settings import get_settings
from curation.sqsd.adapters import Adapter
from curation.sqsd.cards import read_card
from curation.sqsd.directions import fit, read_anchors
from curation.sqsd.models import SHIPPED, LoadedModel, load_model
from curation.sqsd.resample import resample, settings_of
from curation.sqsd.scorer import Scorer

Floats = NDArray[np.float64]

TERMS = ("danger", "safety")
RESULTS = Path(__file__).parent / "results" / "stability"
CHUNK, SOME, FEW = 16, 12, 4
"""Rows in a file of scores, rows for batches and rounded weights, short rows for bf16."""
BUDGETS = (1, 256)
TOP = 0.1
BOOTSTRAP = 1_000
SEEDS_FROM = 101
"""First seed of the fits that differ in nothing else: no draw has it."""
OBTAINED = "SmolLM2-135M aligned, fp32, its shipped directions and states, cosine; rows of the demo set"

console = Console()


def fits(loaded: LoadedModel, term: str, given: Namespace) -> Iterator[tuple[str, Adapter]]:
    """Every other fit of a direction by its name, made where it is missing: draws first, then seeds."""
    direction, anchors = Adapter.load(SHIPPED / term), read_anchors(term)

    def say(what: str) -> Callable[..., None]:
        def on_step(*numbers: Any) -> None:
            *_, step, steps, loss = numbers
            if step == steps:
                console.print(f"{term}, {what}: loss {loss:.3f}, {time.process_time():.0f} s CPU so far")

        return on_step

    for number in range(1, given.draws + 1):
        name = f"draw {number}"
        folders = resample(loaded, direction, anchors, given.home, number, on_step=say(name))
        yield name, Adapter.load(folders[-1])
    card = read_card(SHIPPED / term) or {}
    settings = settings_of(card)
    for seed in range(SEEDS_FROM, SEEDS_FROM + given.seeds):
        folder = given.home / "draws" / f"{direction.fingerprint[:16]}-seeds" / str(seed)
        if not folder.is_dir():
            one = replace(settings, seed=seed)
            fit(loaded, anchors, card["kind"], folder, one, on_step=say(f"seed {seed}"))
        yield f"seed {seed}", Adapter.load(folder)


def scorer(
    loaded: LoadedModel, budget: int | None = None, draws: dict[str, list[Adapter]] | None = None
) -> Scorer:
    danger, safety, state = (Adapter.load(SHIPPED / name) for name in (*TERMS, "benign-state"))
    return Scorer(loaded, danger, safety, state, draws=draws, token_budget=budget)


def distinct_rows(loaded: LoadedModel, given: Namespace) -> list[Sample]:
    """Distinct rows, the shortest first."""
    rows = {sample.id: (len(row), sample) for sample, row in read_rows(given.data, loaded, None)}
    chosen = list(rows.values())[: given.rows]
    return [sample for _, sample in sorted(chosen, key=lambda pair: (pair[0], pair[1].id))]


def score_rows(rows: Sequence[Sample], given: Namespace, made: dict[str, dict[str, Adapter]]) -> None:
    """A file for every few rows: both terms by the scorer itself (`own`) and along every other fit."""
    fits_known = [{"own", *found} for found in made.values()]
    missing = [(i, file) for i, file in _chunks(rows, given.out) if _fits_in(file) != fits_known]
    if not missing:
        return
    with_draws = scorer(load_model(), draws={term: list(found.values()) for term, found in made.items()})
    for start, file in missing:
        results = {r.sample.id: r for r in with_draws.score(rows[start : start + CHUNK])}
        ordered = [results[sample.id] for sample in rows[start : start + CHUNK]]
        numbers: dict[str, Any] = {"rows": [r.sample.id[:12] for r in ordered]}
        for term, found in made.items():
            numbers[term] = {"own": [_short(getattr(r.score, term)) for r in ordered]}
            for place, name in enumerate(found):
                numbers[term][name] = [_short(getattr(r.redrawn, term)[place]) for r in ordered]
        write(file, OBTAINED, numbers)
        console.print(f"{file.name}: {time.process_time():.0f} s CPU so far")


def _fits_in(file: Path) -> list[set[str]]:
    """Names of the fits of both directions that a file of scores holds."""
    return [set(_numbers(file)[term]) for term in TERMS] if file.is_file() else []


def _chunks(rows: Sequence[Sample], out: Path) -> list[tuple[int, Path]]:
    return [(start, out / f"scores-{start // CHUNK:02}.json") for start in range(0, len(rows), CHUNK)]


def read_terms(rows: Sequence[Sample], out: Path) -> dict[str, dict[str, Floats]]:
    """Both terms of all rows, (rows,), by the name of the fit."""
    found: dict[str, dict[str, list[float]]] = {term: {} for term in TERMS}
    for _, file in _chunks(rows, out):
        for term, columns in _numbers(file).items():
            for name, values in columns.items() if term in found else ():
                found[term].setdefault(name, []).extend(values)
    return {term: {name: np.array(v) for name, v in columns.items()} for term, columns in found.items()}


def score_otherwise(rows: Sequence[Sample], given: Namespace) -> None:
    """Risks by the scorer itself in other batches and with another data type, in one file each."""
    some, few = spread(rows, SOME), rows[:FEW]
    ways = {
        "default": (some, lambda: scorer(load_model())),
        **{f"budget {n}": (some, lambda n=n: scorer(load_model(), n)) for n in BUDGETS},
        "weights in bf16": (some, lambda: scorer(_rounded(load_model()))),
        "bf16": (few, lambda: scorer(_in_bf16(load_model()))),
        "default, short": (few, lambda: scorer(load_model())),
    }
    for name, (chosen, make) in ways.items():
        file = given.out / f"{name.replace(',', '').replace(' ', '-')}.json"
        if file.is_file():
            continue
        began, results = time.process_time(), {r.sample.id: r.score for r in make().score(chosen)}
        risks = {s.id[:12]: score.risk for s in chosen if (score := results[s.id])}
        seconds = round(time.process_time() - began)
        write(file, OBTAINED, {"way": name, "cpu_seconds": seconds, "risk": risks})
        console.print(f"{name}: {seconds} s CPU")


def _rounded(loaded: LoadedModel) -> LoadedModel:
    """Weights as bf16 holds them, products in fp32."""
    for weight in loaded.model.parameters():
        weight.data = weight.data.bfloat16().float()
    return loaded


def _in_bf16(loaded: LoadedModel) -> LoadedModel:
    loaded.model.to(torch.bfloat16)  # type: ignore[arg-type]
    return loaded


@dataclass(frozen=True)
class Condition:
    """Rankings to compare with the scorer's own: every danger fit named goes with every safety fit named."""

    name: str
    danger: Sequence[str]
    safety: Sequence[str]


def conditions(given: Namespace) -> list[Condition]:
    draws = [f"draw {number}" for number in range(1, given.draws + 1)]
    seeds = [f"seed {seed}" for seed in range(SEEDS_FROM, SEEDS_FROM + given.seeds)]
    own = ["own"]
    return [
        Condition("anchors", draws, draws),
        Condition("danger anchors", draws, own),
        Condition("safety anchors", own, draws),
        Condition("seeds", seeds, seeds),
    ]


def compare(terms: dict[str, dict[str, Floats]], condition: Condition) -> dict[str, Any]:
    """Agreement of a condition's rankings with the scorer's own: mean, 95 % interval, lowest and highest pair."""
    own = terms["danger"]["own"] - terms["safety"]["own"]
    danger = np.stack([terms["danger"][name] for name in condition.danger])
    safety = np.stack([terms["safety"][name] for name in condition.safety])
    pairs = (danger[:, None] - safety[None]).reshape(-1, len(own))
    draw = np.random.default_rng(0)
    resampled = [_resampled(draw, own, danger, safety) for _ in range(BOOTSTRAP)]
    found: dict[str, Any] = {"pairs": len(pairs), "rows": len(own)}
    for name, measure in MEASURES.items():
        values = measure(own, pairs)
        low, high = np.quantile([measure(*one).mean() for one in resampled], [0.025, 0.975])
        found[name] = {
            "mean": _short(values.mean()), "low": _short(low), "high": _short(high),
            "lowest": _short(values.min()), "highest": _short(values.max()),
        }  # fmt: skip
    return found


def _resampled(
    draw: np.random.Generator, own: Floats, danger: Floats, safety: Floats
) -> tuple[Floats, Floats]:
    """Rows, and fits of either direction, drawn with replacement."""
    rows = draw.integers(len(own), size=len(own))
    d, s = (term[draw.integers(len(term), size=len(term))][:, rows] for term in (danger, safety))
    return own[rows], (d[:, None] - s[None]).reshape(-1, len(rows))


def spearman(own: Floats, others: Floats) -> Floats:
    """Rank correlation of each of the other rankings with the own one, (others,)."""
    a, b = rankdata(own), rankdata(others, axis=1)
    a, b = a - a.mean(), b - b.mean(1, keepdims=True)
    return (b @ a) / np.sqrt((a @ a) * (b * b).sum(1))


def top_overlap(own: Floats, others: Floats) -> Floats:
    """Share of the own riskiest tenth that is among theirs, (others,)."""
    count = max(1, round(TOP * len(own)))
    top = set(np.argsort(-own, kind="stable")[:count].tolist())
    theirs = np.argsort(-others, axis=1, kind="stable")[:, :count]
    return np.array([len(top.intersection(row)) / count for row in theirs.tolist()])


MEASURES = {"spearman": spearman, "top_tenth": top_overlap}


def numerics(given: Namespace) -> dict[str, Any]:
    """The scorer in other batches and types against itself: rank correlation and the largest change of a risk."""
    found: dict[str, Any] = {}
    pairs = [(f"budget-{n}", "default") for n in BUDGETS]
    for name, base in (*pairs, ("weights-in-bf16", "default"), ("bf16", "default-short")):
        files = [given.out / f"{which}.json" for which in (name, base)]
        if all(file.is_file() for file in files):
            other, own = (_numbers(file)["risk"] for file in files)
            a, b = (np.array([values[row] for row in own]) for values in (own, other))
            found[name] = {
                "rows": len(a),
                "spearman": _short(spearman(a, b[None])[0]),
                "largest_change": float(f"{np.abs(a - b).max():.3g}"),
                "standard_deviation_of_risk": _short(a.std(ddof=1)),
            }
    return found


def _numbers(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))["numbers"]


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def show(found: dict[str, Any]) -> None:
    table = Table(
        "drawn anew", "rankings", "rows", "Spearman", "pair by pair", "riskiest tenth shared", box=None
    )
    for name, one in found["rankings"].items():
        rho, top = one["spearman"], one["top_tenth"]
        table.add_row(
            name, str(one["pairs"]), str(one["rows"]),
            f"{rho['mean']:.3f} ({rho['low']:.3f} ... {rho['high']:.3f})",
            f"{rho['lowest']:.3f} ... {rho['highest']:.3f}",
            f"{100 * top['mean']:.0f} % ({100 * top['low']:.0f} ... {100 * top['high']:.0f})",
        )  # fmt: skip
    console.print(table)
    for name, one in found["numerics"].items():
        change = f"largest change of a risk {one['largest_change']:g}"
        among = f"{one['rows']} rows whose risks have a standard deviation of {one['standard_deviation_of_risk']:g}"
        console.print(f"{name}: Spearman {one['spearman']:.4f}, {change}, {among}")


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, default=DEMO, help="rows to rank (default: the demo set)")
    options.add_argument("--rows", type=int, default=120, help="at most so many of them")
    options.add_argument("--draws", type=int, default=2, help="bootstrap draws of each anchor set")
    options.add_argument("--seeds", type=int, default=2, help="further seeds on the same anchors")
    options.add_argument("--home", type=Path, default=get_settings().home, help="where fits are kept")
    options.set_defaults(out=RESULTS)
    given = options.parse_args()
    torch.set_num_threads(given.threads or 1)
    given.out.mkdir(parents=True, exist_ok=True)
    loaded = load_model()
    rows = distinct_rows(loaded, given)
    made = {term: dict(fits(loaded, term, given)) for term in TERMS}
    score_rows(rows, given, made)
    score_otherwise(rows, given)
    terms = read_terms(rows, given.out)
    found = {
        "rankings": {one.name: compare(terms, one) for one in conditions(given)},
        "numerics": numerics(given),
    }
    write(given.out / "summary.json", OBTAINED, found)
    show(found)


if __name__ == "__main__":
    main()
