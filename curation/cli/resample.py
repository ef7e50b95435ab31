"""`curation directions resample`: what a direction would have been, had its anchors been drawn anew."""

from __future__ import annotations

from time import monotonic
from typing import Annotated, Literal

import typer

from curation.cli.console import console, plain, print_json
from curation.cli.fitting import Model, load, model_bar, pace
from curation.cli.options import Json, Layout, Quiet, Train
from curation.settings import get_settings
from curation.sqsd.cards import read_card


def resample(
    kind: Annotated[
        Literal["danger", "safety"],
        typer.Argument(help="Which direction of your settings, or of the demo model."),
    ],
    draws: Annotated[int, typer.Option(min=1, max=64, help="How many there shall be.")] = 8,
    direction: Annotated[
        str | None, typer.Option(help="Another direction: an adapter directory, or its name.")
    ] = None,
    anchors: Annotated[
        str | None, typer.Option(help="The file it was fitted on, unless that was a built-in set.")
    ] = None,
    model: Model = None,
    layout: Layout = None,
    train: Train = "last",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fit a direction again on as many of its anchor rows drawn with replacement, with the same settings.

    Each draw takes as long as the direction did. Draws lie in the folder `draws` of the home and change no score:
    [b]curation stability[/b] scores along them and says how far ranks depend on the anchors that were there. Stop it
    when you like: run again, it goes on with what is missing. Examples:

        curation directions resample danger --draws 8
        curation directions resample safety --anchors refusals.jsonl
    """
    from curation.sqsd.adapters import Adapter
    from curation.sqsd.directions import read_anchors
    from curation.sqsd.load import adapter_folders, find_adapter
    from curation.sqsd.resample import resample as fit_draws

    settings = get_settings(model=model)
    folder = find_adapter(direction, settings.home) if direction else adapter_folders(settings)[kind]
    own = Adapter.load(folder)
    rows = read_anchors(anchors or kind, layout=layout, train=train)
    with model_bar(quiet or json, f"loading {settings.model}") as (bar, task):
        loaded = load(settings, bar, task)
        bar.update(task, description=f"drawing {kind} anew", total=None)
        start, done = monotonic(), 0

        def on_step(number: int, step: int, steps: int, loss: float) -> None:
            nonlocal done
            done += 1
            rate = f"{pace(start, done)}, loss {loss:.3f}"
            bar.update(task, completed=(number - 1) * steps + step, total=draws * steps, rate=rate)

        folders = fit_draws(loaded, own, rows, settings.home, draws, on_step=on_step)
    if json:
        cards = [{"path": str(folder), "card": read_card(folder)} for folder in folders]
        print_json({"of": own.fingerprint, "draws": cards})
    else:
        console.print(
            f"{len(folders)} draws of {plain(str(own.path))} in {plain(str(folders[0].parent))}",
            soft_wrap=True,
        )
        console.print("[dim]see what they say: curation stability[/]")
