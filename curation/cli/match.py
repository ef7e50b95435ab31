"""`curation directions match`: a direction from gradients, without training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from curation.cli.fitting import Anchors, Force, Licence, Model, Side, free, load, model_bar, report
from curation.cli.options import Json, Layout, Quiet, Train
from curation.settings import get_settings
from curation.sqsd.cards import FIRST_TOKENS, LICENCE, MATCHED_RANK


def match(
    kind: Side,
    anchors: Anchors = None,
    model: Model = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write. Default: matched-KIND, in the home.")
    ] = None,
    first_tokens: Annotated[
        int, typer.Option(min=1, help="Answer tokens that count, from the first.")
    ] = FIRST_TOKENS,
    rank: Annotated[
        int, typer.Option(min=1, help="Rank at which each module's mean gradient is kept.")
    ] = MATCHED_RANK,
    max_tokens: Annotated[int, typer.Option(min=8, help="Cut longer samples on the left.")] = 1024,
    force: Force = False,
    licence: Licence = LICENCE,
    layout: Layout = None,
    train: Train = "last",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a direction of the anchors' mean gradient at the model as it is: nothing is trained.

    With two of these the score is gradient matching (He, Xia and Henderson 2024): does a sample push the model where
    harmful answers do, and away from where refusals do? In this project's own studies it foretold lost refusals where
    SQSD did not (docs/evidence.md). It needs no state, and only the first answer tokens count:

        curation directions match danger
        curation directions match safety
        curation score --danger matched-danger --safety matched-safety \\
            --update full --no-states --metric global-cosine --first-tokens 10
    """
    from curation.sqsd import directions

    settings = get_settings(model=model)
    target = free(settings, out, f"matched-{kind}", force)
    samples = directions.read_anchors(anchors or kind, layout=layout, train=train)
    with model_bar(quiet or json, f"loading {settings.model}") as (bar, task):
        loaded = load(settings, bar, task)
        bar.update(task, description=f"gradients of {len(samples.samples):,} {kind} anchors")

        def on_row(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        card = directions.match(
            loaded, samples, kind, target, rank=rank, first_tokens=first_tokens, max_tokens=max_tokens,
            licence=licence, force=force, on_row=on_row,
        )  # fmt: skip
    report(card, target, json)
