"""How fast samples are scored, as ratios measured in one run.

    python -m benchmarks.scoring [--data FILE] [--rounds 5] [--out benchmarks/results/scoring.json]

- against the floor: Projector.project per term, over one frozen forward and backward to the inputs with
  answer-only logits, on the same batches. A score takes two terms, the floor of a score two such passes.
- against the authors' way: batch 1 and dense products (curation.sqsd.oracle), over the batched scorer on the
  same samples; with the largest difference between the two's numbers.
- padding: the share of positions in token-budget batches that hold no token.

The passes to compare alternate batch by batch, and the ratio is taken of each such pair. On a CPU the clock is
the process's CPU time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.measure import (
    DEMO,
    Seconds,
    counted,
    parser,
    plain_pass,
    ratios,
    read_rows,
    spread,
    timed,
    write,
)
from curation.sqsd.batching import budgeted, collate
from curation.sqsd.encode import Encoded
from curation.sqsd.load import load_scorer
from curation.sqsd.models import load_model
from curation.sqsd.oracle import project_dense
from curation.sqsd.scorer import Scorer

TERMS = ("danger", "safety")
BUDGETS = {"CPU default": 2_048, "GPU default": 16_384}
Groups = list[list[Encoded]]


def padding(rows: list[Encoded], budget: int) -> dict[str, float]:
    """Share of the batches' positions that are padding."""
    groups = list(budgeted(rows, len, budget))
    padded = sum(len(g) * max(map(len, g)) for g in groups)
    real = sum(map(len, rows))
    return {
        "budget": budget,
        "batches": len(groups),
        "tokens": real,
        "padding_percent": round(100 * (1 - real / padded), 2),
    }


def against_floor(scorer: Scorer, floor: Any, groups: Groups, rounds: int) -> dict[str, Any]:
    """Time of each term's pass over the plain pass. `floor` is a second copy of the model, left as it was."""
    device = floor.device
    batches = [collate(g, scorer.loaded.pad_id) for g in groups]
    plain_pass(floor, batches[0])
    for term in TERMS:
        scorer.projector.project(batches[0], term)
    taken: dict[str, list[Seconds]] = {"plain": [], **{t: [] for t in TERMS}}
    for turn in range(rounds):
        for batch in batches:
            runs = {"plain": lambda b=batch: plain_pass(floor, b)}
            runs |= {t: lambda b=batch, t=t: scorer.projector.project(b, t) for t in TERMS}
            for name in list(runs) if turn % 2 == 0 else list(runs)[::-1]:
                taken[name].append(timed(runs[name], device))
    tokens = rounds * sum(sum(map(len, g)) for g in groups)
    seconds = {name: sum(counted(s, device) for s in took) for name, took in taken.items()}
    both = [a + b for a, b in zip(taken["danger"], taken["safety"], strict=True)]
    two_passes = [s + s for s in taken["plain"]]
    return {
        "score over two plain passes": ratios(both, two_passes, device),
        **{f"{t} term over one plain pass": ratios(taken[t], taken["plain"], device) for t in TERMS},
        "of sums": round((seconds["danger"] + seconds["safety"]) / (2 * seconds["plain"]), 3),
        "tokens_per_second_scored": round(tokens / sum(s.wall for s in both), 1),
        "batches": len(batches),
        "rounds": rounds,
    }


def against_dense(scorer: Scorer, plain: Any, groups: Groups) -> dict[str, Any]:
    """Time of the dense batch-1 way over ours for the same samples, and the difference in their numbers."""
    device = plain.device
    ours: list[Seconds] = []
    dense: list[Seconds] = []
    difference: list[float] = []
    size: list[float] = []
    project_dense(plain, groups[0][0], scorer.terms["danger"])
    for group in groups:
        batch = collate(group, scorer.loaded.pad_id)
        for name in TERMS:
            term = scorer.terms[name]
            fast: list[float] = []
            slow: list[float] = []
            ours.append(
                timed(
                    lambda: fast.extend(scorer.projector.project(batch, name).total("cosine").tolist()),
                    device,
                )
            )
            dense.append(
                timed(
                    lambda: slow.extend(sum(project_dense(plain, row, term).values()) for row in group),
                    device,
                )
            )
            difference += [abs(a - b) for a, b in zip(fast, slow, strict=True)]
            size += map(abs, slow)
    relative = [d / s for d, s in zip(difference, size, strict=True)]
    return {
        "dense over ours": ratios(dense, ours, device),
        "samples": sum(map(len, groups)),
        "largest difference": float(f"{max(difference):.2g}"),
        "largest relative difference": float(f"{max(relative):.2g}"),
        "scores lie within": round(max(size), 3),
    }


def measure(data: Path, rounds: int, batches: int, dense_batches: int, budget: int | None) -> dict[str, Any]:
    scorer, floor = load_scorer(), load_model()
    rows = [row for _, row in read_rows(data, scorer.loaded, None)]
    groups = list(budgeted(rows, len, budget or scorer.token_budget))
    # the dense way takes the time of a sample times its number: whole batches, but small ones
    small = list(budgeted(rows, len, (budget or scorer.token_budget) // 2))
    return {
        "data": data.name,
        "samples": len(rows),
        "padding": {name: padding(rows, tokens) for name, tokens in BUDGETS.items()},
        "floor": against_floor(scorer, floor.model, spread(groups, batches), rounds),
        "dense": against_dense(scorer, floor.model, spread(small, dense_batches + 2)[1:-1]),
    }


def show(found: dict[str, Any]) -> None:
    table = Table(
        "measured",
        "median",
        "lowest - highest",
        "wall",
        "pairs",
        title=f"{found['samples']:,} samples of {found['data']}",
    )
    for part in ("floor", "dense"):
        for name, value in found[part].items():
            if isinstance(value, dict):
                between = f"{value['lowest']:.2f} - {value['highest']:.2f}"
                table.add_row(
                    name, f"{value['median']:.3f}", between, f"{value['wall']:.2f}", str(value["pairs"])
                )
    console = Console()
    console.print(table)
    dense = found["dense"]
    console.print(
        f"numbers: dense and ours differ by at most {dense['largest difference']} "
        f"({dense['largest relative difference']} relative) over {dense['samples']} samples"
    )
    for name, waste in found["padding"].items():
        console.print(
            f"padding: {waste['padding_percent']} % in batches of {waste['budget']:,} tokens ({name})"
        )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", type=Path, default=DEMO, help="samples in any format curation reads")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument(
        "--batches", type=int, default=6, help="batches timed in a round, short rows to long"
    )
    options.add_argument(
        "--dense-batches", type=int, default=2, help="batches the dense way repeats row by row"
    )
    options.add_argument("--budget", type=int, help="padded tokens in a batch (default: the scorer's own)")
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = measure(given.data, given.rounds, given.batches, given.dense_batches, given.budget)
    show(found)
    write(
        given.out,
        "SmolLM2-135M aligned, shipped adapters (r = 8), cosine; passes alternated batch by batch",
        found,
    )


if __name__ == "__main__":
    main()
