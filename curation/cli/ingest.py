"""`curation ingest`: files into the ledger."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from sqlalchemy import Engine

from curation.cli.console import EXIT_INCOMPLETE, console, plain, print_json, progress
from curation.cli.fleet import bell
from curation.cli.options import Json, Layout, Quiet, Train
from curation.ledger.engine import open_ledger
from curation.ledger.samples import Added, add_samples
from curation.samples import Sample, read_samples
from curation.samples.reading import Reading
from curation.samples.rejects import Rejects
from curation.settings import Settings, get_settings


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one source."""

    source: str
    dataset: str
    format: str
    layout: str
    others: dict[str, int]
    rows: int
    added: Added
    rejected: int
    rejects_file: Path | None

    def as_json(self) -> dict[str, Any]:
        return {
            "source": self.source,
            "dataset": self.dataset,
            "format": self.format,
            "layout": self.layout,
            "other_layouts": self.others,
            "rows": self.rows,
            "new": self.added.new,
            "duplicates": self.added.duplicates,
            "unchanged": self.added.unchanged,
            "rejected": self.rejected,
            "rejects_file": str(self.rejects_file) if self.rejects_file else None,
        }


def ingest(
    files: Annotated[
        list[str],
        typer.Argument(
            help="JSONL, JSON, CSV, TSV or Parquet files (also .gz, .zst), "
            "saved Hugging Face datasets, or hub names."
        ),
    ],
    dataset: Annotated[str | None, typer.Option(help="Dataset to add to. Default: the file's name.")] = None,
    layout: Layout = None,
    train: Train = "last",
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read samples into the ledger. Bad rows are kept aside with their reason, and the rest goes on.

    Reading the same file again changes nothing. Example: [b]curation ingest support.jsonl extra.parquet[/b]
    """
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    done = [ingest_file(engine, settings, f, dataset, layout, train, quiet or json) for f in files]
    bell(settings, engine)()
    if json:
        print_json([d.as_json() for d in done])
    else:
        for one in done:
            say(one)
    if any(d.rejected for d in done):
        raise typer.Exit(EXIT_INCOMPLETE)


def ingest_file(
    engine: Engine,
    settings: Settings,
    source: str,
    dataset: str | None,
    layout: str | None,
    train: Any,
    quiet: bool,
) -> Ingested:
    """Read one source into its dataset, with a progress bar."""
    name = dataset or dataset_name(source)
    folder = settings.home / "rejects"
    folder.mkdir(parents=True, exist_ok=True)
    rejects = folder / f"{name}--{dataset_name(source)}.jsonl"
    reading = read_samples(source, layout=layout, train=train, rejects=Rejects(rejects))
    with progress(quiet) as bar:
        task = bar.add_task(f"reading {escape(plain(Path(source).name, 30))}", total=None, rate="")

        def update(rows: int) -> None:
            bar.update(task, completed=rows)

        added = add_samples(engine, name, _shown(reading, update))
    return Ingested(
        reading.source,
        name,
        reading.format,
        reading.layout.name,
        dict(reading.others),
        reading.rows,
        added,
        reading.rejected,
        rejects if reading.rejected else None,
    )


def dataset_name(source: str) -> str:
    """A file's name without folders, extensions and awkward characters."""
    stem = re.sub(r"(\.(jsonl?|csv|tsv|parquet|gz|zst|ndjson))+$", "", Path(source).name)
    return re.sub(r"[^\w.-]+", "-", stem) or "data"


def say(done: Ingested) -> None:
    """Tell a person what one source held."""
    added = done.added
    repeats = f", {added.duplicates:,} duplicate" if added.duplicates else ""
    known = f", {added.unchanged:,} already there" if added.unchanged else ""
    others = ", ".join(f"{n:,} {layout}" for layout, n in done.others.items())
    layouts = f"[b]{done.layout}[/b]" + (f" ({others})" if others else "")
    console.print(
        f"{escape(plain(done.source))}: {done.format}, layout {layouts}; {done.rows:,} rows -> "
        f"{added.new:,} new samples{repeats}{known} in dataset [b]{escape(done.dataset)}[/b]"
    )
    if done.rejects_file:
        console.print(
            f"[yellow]{done.rejected:,} rows could not be used[/]; each with its reason in "
            f"{escape(str(done.rejects_file))}"
        )


def _shown(reading: Reading, update: Callable[[int], None]) -> Iterator[Sample]:
    for n, sample in enumerate(reading):
        if n % 100 == 0:
            update(reading.rows)
        yield sample
    update(reading.rows)
