"""`curation dynamics`: how far training runs moved along the danger and the safety direction, as logged."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from curation.cli.console import console, plain, print_json
from curation.cli.options import Json
from curation.dynamics.log import Log, read_log

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="""Follow training runs along the danger and the safety direction. [b]danger - safety: higher = riskier.[/b]

A run is logged by a callback of transformers' Trainer, and so of TRL's:

    from curation.dynamics import DriftCallback
    Trainer(..., callbacks=[DriftCallback("danger", "safety", "drift.jsonl", every=10)])
""",
)

_COLUMNS = ("cosine", "projection")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(help="Log that DriftCallback has written.")],
    json: Json = False,
) -> None:
    """Show a log as a table: per recorded step the summed cosines and projections of theta_t - theta_0.

    Projections grow with the distance covered, cosines do not; |moved| is that distance. Example:

        curation dynamics show drift.jsonl
    """
    log = read_log(file)
    if json:
        print_json({"file": str(file), "header": log.header, "steps": list(log.records)})
        return
    console.print(_table(log))
    _say_left_out(log.header)


@app.command()
def plot(
    files: Annotated[list[Path], typer.Argument(help="Logs of one or several runs.")],
    out: Annotated[Path, typer.Option(help="Picture to write: .png or .svg.")],
    metric: Annotated[
        Literal["projection", "cosine"], typer.Option(help="What to draw of the task vector.")
    ] = "projection",
) -> None:
    """Draw danger, safety and danger - safety over the steps of one or several runs.

    Example:

        curation dynamics plot run-a/drift.jsonl run-b/drift.jsonl --out drift.png
    """
    from curation.figures import draw_dynamics

    logs = dict(zip(_names(files), map(read_log, files), strict=True))
    draw_dynamics(logs, out, metric)
    console.print(f"picture: [b]{out.resolve()}[/b]", soft_wrap=True)


def _table(log: Log) -> Table:
    title = f"{plain(log.path.name)} - danger \u2212 safety: higher = riskier"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    names = ("step", "loss", "danger cos", "proj", "safety cos", "proj", "d\u2212s cos", "proj", "|moved|")
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    danger, safety = ([log.column(d, c) for c in _COLUMNS] for d in ("danger", "safety"))
    net = [log.net(column) for column in _COLUMNS]
    columns = [*danger, *safety, *net]
    for i, (step, loss, moved) in enumerate(
        zip(log.column("step"), log.column("loss"), log.column("danger", "norm"), strict=True)
    ):
        signed = (f"{column[i]:+.4g}" for column in columns)
        table.add_row(f"{step:,.0f}", "" if loss != loss else f"{loss:.3f}", *signed, f"{moved:.4g}")
    return table


def _say_left_out(header: dict[str, Any]) -> None:
    """What the numbers do not cover, by name."""
    for direction in ("danger", "safety"):
        if idle := header.get(direction, {}).get("not_trained"):
            _say_names(f"{direction} covers {len(idle)} modules that are not trained", idle)
    for key, words in (("not_covered", "trained, but in no direction"), ("shared", "counted once")):
        if names := header.get(key):
            _say_names(words, names)


def _say_names(words: str, names: Sequence[str]) -> None:
    """Names by kind: one line for what is in every layer."""
    kinds = dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", plain(str(name))) for name in names)
    console.print(f"[dim]{words}: {', '.join(kinds)}[/]", soft_wrap=True)


def _names(files: Sequence[Path]) -> list[str]:
    """What to call each run: the end of its path, as long as it takes to tell them apart."""
    parts = 1
    while len(set(_ends(files, parts))) < len(set(files)) and parts < max(len(f.parts) for f in files):
        parts += 1
    return _ends(files, parts)


def _ends(files: Sequence[Path], parts: int) -> list[str]:
    return [plain(str(Path(*file.parts[-parts:]).with_suffix("")), 40) for file in files]
