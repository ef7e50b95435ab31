"""`curation stability`: how far ranks depend on the anchors that happened to be there."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.table import Table

from curation.cli.console import console, plain, print_json, progress
from curation.cli.options import Dataset, Json, Quiet, ScorerId
from curation.ledger.engine import open_ledger, reading
from curation.settings import get_settings

if TYPE_CHECKING:
    from curation.sqsd.score import Scored
    from curation.stability import Stability


def stability(
    dataset: Dataset = None, scorer: ScorerId = None, json: Json = False, quiet: Quiet = False
) -> None:
    """Score a dataset along every draw of the directions, and keep for each sample how far its rank moves.

    Make the draws first, with [b]curation directions resample[/b]. Gradients are those of the scorer: one forward and
    backward pass per state serves all draws. Every draw ranks the dataset; from 5 % to 95 % of a sample's ranks is its
    interval, which queue, explain and report show as the risks that stand at these ranks. Scores stay as they are.
    Stop it when you like: run again, it goes on with what is missing. Example:

        curation directions resample danger; curation directions resample safety; curation stability
    """
    from curation.cli.scoring import choose, same_scorer
    from curation.reconcile.stability import measure_stability, to_see

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen, stored = choose(conn, dataset, scorer)
    loaded = same_scorer(settings, stored, quiet or json, draws=True)
    where = (engine, loaded, stored.id, chosen.id, settings.home)
    tokens, start = 0, time.monotonic()
    with progress(quiet or json) as bar:
        task = bar.add_task("scoring along draws", total=to_see(*where), rate="first batch")

        def on_batch(batch: list[Scored]) -> None:
            nonlocal tokens
            tokens += sum(r.score.n_tokens for r in batch if r.score)
            rate = f"{tokens / (time.monotonic() - start):,.0f} tokens/s"
            bar.update(task, advance=len(batch), rate=rate)

        found = measure_stability(*where, settings.tiers, on_batch)
    draws = {name: len(term.draws) for name, term in loaded.terms.items()}
    if json:
        print_json({"dataset": chosen.name, "scorer": stored.fingerprint, "draws": draws, **_as_json(found)})
        return
    counts = " and ".join(f"{n} draws of {name}" for name, n in draws.items() if n)
    console.print(
        f"{plain(chosen.name)}: {len(found.low):,} samples ranked under {counts} ({found.pairs} pairs)"
    )
    console.print(_table(found))
    firm = ", ".join(f"{always:,} of {n:,} {tier}" for tier, (n, always) in found.tiers.items())
    console.print(f"in their tier or a riskier one under all pairs: {firm}")
    console.print("[dim]sample by sample: curation queue, curation explain ID, curation report[/]")


def _table(found: Stability) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("against the scorer's own ranking", "mean", "worst pair"):
        table.add_column(name, justify="left" if name.startswith("against") else "right")
    agreement = found.agreement
    table.add_row("rank correlation (Spearman)", *(f"{value:+.3f}" for value in agreement.spearman))
    table.add_row(
        "of its riskiest tenth, in theirs too", *(f"{100 * value:.0f} %" for value in agreement.top)
    )
    return table


def _as_json(found: Stability) -> dict[str, Any]:
    pair = ("mean", "worst")
    return {
        "samples": len(found.low),
        "pairs": found.pairs,
        "spearman": dict(zip(pair, found.agreement.spearman, strict=True)),
        "top_tenth": dict(zip(pair, found.agreement.top, strict=True)),
        "tiers": {
            tier: {"samples": n, "under_all_draws": always} for tier, (n, always) in found.tiers.items()
        },
    }
