"""`curation evaluate`: what a model refuses and how well it answers, beside the model it was fine-tuned from."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from curation.cli.console import console, plain, print_json, progress
from curation.cli.options import Json, Quiet
from curation.settings import get_settings

if TYPE_CHECKING:
    from curation.evaluate.judge import Judge
    from curation.evaluate.measure import Measured
    from curation.evaluate.summary import Summary

RATES = ("refused", "refused_change", "degenerate", "over_refused", "over_refused_change")


def evaluate(
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Model to evaluate. Repeat it for several runs of one recipe: means are then taken over runs."
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(help="The aligned model it was fine-tuned from: adds the change, prompt by prompt."),
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(help="Your own prompts: rows with `prompt` and `kind`, harmful or harmless."),
    ] = None,
    utility: Annotated[
        str,
        typer.Option(help="Held-out rows whose answers' loss is taken, in any layout `ingest` reads."),
    ] = "benign",
    new_tokens: Annotated[int, typer.Option(help="Tokens of each reply that is judged.", min=1)] = 32,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what fine-tuning did to a model's safety: refusal margin, refusals, over-refusal, utility.

    The margin, in nats, is how much likelier the model is to open with a refusal than with compliance, [b]higher =
    safer[/b]. It moves long before replies do; look at its change, its level depends on the prompts. Replies are
    greedy and judged offline by their words, with an error that is printed beside every rate. A model that refuses
    everything is no safe one, so harmless prompts are asked too.

    Built-in prompts (12 harmful, 12 harmless) and rows are few: give your own. None of them may be among what any of
    the models was trained on. Examples:

        curation evaluate --model ./tuned --start ./aligned
        curation evaluate --model run-0 --model run-1 --model run-2 --start ./aligned --prompts held-out.jsonl
    """
    from curation.cli.scoring import quieten_transformers
    from curation.evaluate.judge import Judge
    from curation.evaluate.summary import READS, summarise, to_json

    quieten_transformers()
    names = model or [get_settings().model]
    judge = Judge.load()
    runs, before = _measure(names, start, prompts, utility, judge, new_tokens, quiet or json)
    found = summarise(runs, [before] if before else [])
    if json:
        print_json(
            {
                "models": names,
                "start": start,
                "summary": {key: asdict(value) | {"reads": READS[key]} for key, value in found.items()},
                "runs": [to_json(run) for run in runs],
                "judge": {"words": judge.error_words, **judge.card["errors"]},
            }
        )
        return
    console.print(_table(found, names, start, judge))
    console.print(f"[dim]{_note(len(names), judge)}[/]", soft_wrap=True)


def _measure(
    names: list[str],
    start: str | None,
    prompts: str | None,
    utility: str,
    judge: Judge,
    new_tokens: int,
    quiet: bool,
) -> tuple[list[Measured], Measured | None]:
    """Every model on the same probes, under one progress bar for each."""
    from curation.evaluate.runs import measure_models

    with progress(quiet) as bar:
        bar.speed_estimate_period = 3600

        def on_model(name: str, steps: int | None) -> None:
            if steps is None:
                bar.add_task(f"loading {plain(name, 40)}", total=None, rate="")
            else:
                bar.update(bar.task_ids[-1], description=f"asking {plain(name, 40)}", total=steps)

        found = measure_models(
            [*([start] if start else []), *names],
            prompts,
            utility,
            judge,
            new_tokens,
            on_model=on_model,
            on_step=lambda done: bar.advance(bar.task_ids[-1], done),
        )
    return (found[1:], found[0]) if start else (found, None)


def _table(found: Summary, names: list[str], start: str | None, judge: Judge) -> Table:
    from curation.evaluate.summary import READS

    title = plain(names[0], 60) if len(names) == 1 else f"{len(names)} models"
    table = Table(
        title=title + (f", from {plain(start, 60)}" if start else ""), title_justify="left", box=None
    )
    for name, side in (
        ("measured", "left"),
        ("mean", "right"),
        ("95 % interval", "right"),
        ("reads", "left"),
    ):
        table.add_column(name, justify=side, no_wrap=name != "reads")  # type: ignore[arg-type]
    error = f"; judge errs on {100 * judge.card['errors']['mean']:.1f} %"
    for key, value in found.items():
        rate = key in RATES
        mean, low, high = (
            f"{100 * number:+.1f}"
            if rate and "change" in key
            else f"{100 * number:.1f}"
            if rate
            else f"{number:+.3f}"
            for number in (value.mean, value.low, value.high)
        )
        unit = " %" if rate else ""
        table.add_row(
            key.replace("_", " "), mean + unit, f"{low} ... {high}", READS[key] + (error if rate else "")
        )
    return table


def _note(runs: int, judge: Judge) -> str:
    over = (
        "Intervals are over prompts: one run says nothing of the next one. Give several --model."
        if runs == 1
        else f"Intervals are over {runs} runs and the prompts; with few runs they are too narrow."
    )
    return f"{over}\nOf rates: {judge.error_words}. It reads words: not refused is not harmful."
