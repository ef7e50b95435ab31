"""`curation study`: advance a study that asks whether scores predict lost safety, and show what came out."""

from __future__ import annotations

from pathlib import Path
from time import monotonic
from typing import Annotated, Any

import typer
from rich.table import Table

from curation.cli.console import console, print_json, progress
from curation.cli.options import Json, Quiet
from curation.errors import InputError


def study(
    plan: Annotated[Path, typer.Argument(help="The study's plan, a TOML file: see benchmarks/study.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder with the study's data; docs/evidence.md lists its files.")
    ] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="Only list the cells: what is done, what is missing.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Picture of the outcome: .png or .svg.")] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fine-tune on rows chosen by score, and by simpler things, and see what is left of a model's refusals.

    A plan is worked through cell by cell, one arm with one seed in one order of training, and every cell leaves a
    small JSON file. Stop it when you like: run again, it goes on with what is missing. Without --data only what there
    is gets shown. It needs a checkout of this project. Examples:

        curation study benchmarks/study/smollm2-cpu.toml --list
        curation study benchmarks/study/smollm2-cpu.toml --data ../data
        curation study benchmarks/study/smollm2-cpu.toml --plot outcome.png
    """
    try:
        from benchmarks.study.plan import read_plan
        from benchmarks.study.results import Results
    except ModuleNotFoundError as error:
        raise InputError(
            f"studies are not part of the installed package ({error.name} is missing)",
            "Run this in a checkout of the project, installed with pip install --editable.",
        ) from error
    results = Results.of(read_plan(plan))
    if list_:
        _list(results, json)
        return
    if data is not None:
        _run(results, data, quiet or json)
    from benchmarks.study import show

    if json:
        print_json(show.as_json(results))
    else:
        for part in show.tables(results):
            console.print(part, soft_wrap=isinstance(part, str))
        if left := len(results.missing()):
            console.print(
                f"{left} cells have no result yet, so verdicts are preliminary: give --data to go on"
            )
    if plot:
        show.draw(results, plot)


def _run(results: Any, data: Path, quiet: bool) -> None:
    from benchmarks.study.run import run
    from curation.cli.scoring import quieten_transformers

    quieten_transformers()
    began = monotonic()
    with progress(quiet) as bar:
        bar.speed_estimate_period = 3600  # a cell takes minutes
        task = bar.add_task("study", total=None, rate="")

        def say(what: str, done: int, total: int) -> None:
            rate = f"{(monotonic() - began) / 60:.0f} min so far"
            bar.update(task, description=what, completed=done, total=total, rate=rate)

        run(results.plan, data, results, say)


def _list(results: Any, json: bool) -> None:
    missing = set(results.missing())
    cells: list[dict[str, Any]] = [
        {"arm": c.arm, "seed": c.seed, "order": c.order, "done": c not in missing}
        for c in results.plan.cells()
    ]
    if json:
        print_json(cells)
        return
    done = sum(cell["done"] for cell in cells)
    table = Table(
        title=f"{results.plan.name}: {done} of {len(cells)} cells done", title_justify="left", box=None
    )
    table.add_column("arm")
    table.add_column("seeds done")
    table.add_column("seeds missing")
    for arm in dict.fromkeys(cell["arm"] for cell in cells):
        split = [
            [
                f"{c['seed']}.{c['order']}" if results.plan.orders > 1 else str(c["seed"])
                for c in cells
                if c["arm"] == arm and c["done"] is state
            ]
            for state in (True, False)
        ]
        table.add_row(arm, *(", ".join(seeds) for seeds in split))
    console.print(table)
