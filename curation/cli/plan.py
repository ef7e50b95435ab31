"""`curation plan`: what scoring a file would take, before anything is written."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import psutil
import typer
from rich.table import Table

from curation.cli.console import console, errors, print_json
from curation.cli.options import Json, Layout, Quiet, Train, takes_scorer
from curation.errors import EncodeError, InputError
from curation.samples import Sample, read_samples
from curation.settings import Settings

if TYPE_CHECKING:
    from curation.sqsd.scorer import Scorer

_MEASURED = 2_000
"""Rows tokenised to learn the lengths; the rest is only counted."""

_PROBE_TOKENS = 1_500


@dataclass(frozen=True, slots=True)
class Plan:
    """Estimates for one file. Memory is what scoring adds to and includes the loaded model, in MiB."""

    rows: int
    samples: int
    rejected: int
    layout: str
    tokens: int
    truncated: int
    unusable: int
    tokens_per_second: float
    seconds: float
    memory_mib: int
    review: dict[str, int]


@takes_scorer
def plan(
    settings: Settings,
    file: Annotated[str, typer.Argument(help="JSONL, JSON, CSV or Parquet file, saved dataset or hub name.")],
    layout: Layout = None,
    train: Train = "last",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say what `triage` of a file would take: rows, tokens, time (from a short probe), memory, rows to review.

    Nothing is written. Example: [b]curation plan support.jsonl[/b]
    """
    from curation.cli.scoring import make_scorer

    reading = read_samples(file, layout=layout, train=train)
    scorer = make_scorer(settings, quiet or json)
    with errors.status("reading and probing") if not (quiet or json) else nullcontext():
        seen: set[str] = set()
        kept: list[Sample] = []
        for sample in reading:
            if sample.id not in seen and len(kept) < _MEASURED:
                kept.append(sample)
            seen.add(sample.id)
        if not kept:
            raise InputError(
                f"{file} holds no usable sample ({reading.rejected:,} rows rejected)", "Look at its rows."
            )
        lengths, unusable, truncated = _lengths(scorer, kept)
        rate, memory = _probe(scorer, kept)
    share = len(seen) / len(kept)
    tokens = round(sum(lengths) * share)
    made = Plan(
        reading.rows,
        len(seen),
        reading.rejected,
        reading.layout.name,
        tokens,
        round(truncated * share),
        round(unusable * share),
        round(rate, 1),
        round(tokens / rate, 1),
        memory,
        _to_review(len(seen), settings),
    )
    if json:
        print_json(asdict(made))
    else:
        _say(made, file)


def _lengths(scorer: Scorer, samples: Iterable[Sample]) -> tuple[list[int], int, int]:
    """Token counts of the usable samples, how many are not, and how many are cut."""
    lengths: list[int] = []
    unusable = truncated = 0
    for sample in samples:
        try:
            row = scorer.encode(sample)
        except EncodeError:
            unusable += 1
            continue
        lengths.append(len(row))
        truncated += row.truncated
    return lengths, unusable, truncated


def _probe(scorer: Scorer, samples: list[Sample]) -> tuple[float, int]:
    """Tokens per second (both states) on a few samples spread over the file, and the process's memory in MiB."""
    spread = samples[:: max(1, len(samples) // 12)]
    list(scorer.score(spread[:1]))  # the first pass also warms up
    budget = _PROBE_TOKENS
    chosen: list[Sample] = []
    for sample in islice(spread, 1, None):
        chosen.append(sample)
        budget -= len(sample.prompt + sample.answer) // 4
        if budget < 0:
            break
    start = time.monotonic()
    scored = list(scorer.score(chosen or spread))
    tokens = sum(r.score.n_tokens for r in scored if r.score)
    rate = max(tokens, 1) / (time.monotonic() - start)
    return rate, round(psutil.Process().memory_info().rss / 2**20)


def _to_review(n: int, settings: Settings) -> dict[str, int]:
    """Rows per tier by the percentile policy, riskiest first."""
    policy = settings.tiers
    tiers = [
        policy.tier(100 * (n - 1 - above) / (n - 1) if n > 1 else 100.0) for above in range(min(n, 10_000))
    ]
    scale = n / len(tiers)
    return {tier: round(tiers.count(tier) * scale) for tier in ("critical", "high", "medium", "low")}


def _say(made: Plan, file: str) -> None:
    table = Table.grid(padding=(0, 2))
    minutes = made.seconds / 60
    for name, value in (
        ("rows", f"{made.rows:,} (layout {made.layout}; {made.rejected:,} rejected)"),
        (
            "samples",
            f"{made.samples:,} distinct; {made.unusable:,} cannot be expressed, {made.truncated:,} would be cut",
        ),
        ("tokens", f"{made.tokens:,}"),
        (
            "time",
            f"about {minutes:,.1f} min at {made.tokens_per_second:,.0f} tokens/s (both states, this machine)",
        ),
        ("memory", f"about {made.memory_mib:,} MiB with the model"),
        ("to review", ", ".join(f"{n:,} {tier}" for tier, n in made.review.items())),
    ):
        table.add_row(f"[b]{name}[/b]", value)
    console.print(table)
    console.print(f"[dim]next: curation triage {file}[/]", soft_wrap=True)
