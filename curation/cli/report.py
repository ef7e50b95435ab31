"""`curation report`: the HTML report of a scored dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from sqlalchemy import Engine

from curation.cli.console import console, errors, print_json, progress
from curation.cli.options import Dataset, Json, Quiet, ScorerId
from curation.errors import CurationError
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import Dataset as StoredDataset
from curation.ledger.scores import Scorer as StoredScorer
from curation.settings import get_settings

if TYPE_CHECKING:
    from curation.report.collect import Wanted
    from curation.sqsd.maps import Explanation
    from curation.sqsd.scorer import Scorer

DEFAULT_REPORT = Path("curation-report.html")

Out = Annotated[Path, typer.Option(help="Where to write the report.")]
Top = Annotated[int, typer.Option(min=0, max=300, help="Samples shown in full.")]
Heat = Annotated[
    int, typer.Option(min=0, max=300, help="Of those, how many with token heat (scored once more).")
]


def report(
    dataset: Dataset = None,
    scorer: ScorerId = None,
    out: Out = DEFAULT_REPORT,
    top: Top = 50,
    heat: Heat = 10,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one self-contained HTML file: distribution, tiers, top samples, confounds, provenance.

    Example: [b]curation report --out support.html --heat 0[/b] (no model is loaded without heat)
    """
    from curation.cli.scoring import choose, same_scorer
    from curation.report.collect import Wanted

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen, stored = choose(conn, dataset, scorer)
    notes: list[str] = []
    loaded = None
    if heat:
        try:
            loaded = same_scorer(settings, stored, quiet or json)
        except CurationError as error:
            notes.append(f"No token heat: {error.message}.")
            errors.print(f"[yellow]{notes[0]}[/]")
    wanted = Wanted(top, heat, settings.tiers, warnings=notes)
    make_report(engine, chosen, stored, wanted, out, loaded, quiet or json)
    if json:
        print_json({"report": str(out.resolve())})
    else:
        console.print(f"report: [b]{out.resolve()}[/b]", soft_wrap=True)


def make_report(
    engine: Engine,
    dataset: StoredDataset,
    stored: StoredScorer,
    wanted: Wanted,
    out: Path,
    scorer: Scorer | None,
    quiet: bool,
) -> None:
    """Collect, render and write a report, with progress for the token heat, which the ledger keeps."""
    from curation.reconcile.explain import keep_explanation
    from curation.report.collect import collect
    from curation.report.render import write_report

    with progress(quiet) as bar:
        task = bar.add_task("token heat", total=min(wanted.top, wanted.heated) if scorer else 0, rate="")

        def keep(sample_pk: int, found: Explanation) -> None:
            keep_explanation(engine, stored.id, sample_pk, found)
            bar.advance(task)

        with reading(engine) as conn:
            data = collect(conn, dataset, stored, wanted, scorer, keep)
    write_report(data, out)
