"""`curation history`: what happened to one sample."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from curation.cli.console import console, plain, print_json
from curation.cli.options import Dataset, Json
from curation.ledger import history as ledger_history
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import find_sample, list_occurrences
from curation.settings import get_settings


def history(
    id: Annotated[str, typer.Argument(help="Start of a sample's id, at least 6 digits.")],
    dataset: Dataset = None,
    json: Json = False,
) -> None:
    """Show every score, decision and export of one sample in order of time.

    Times are those at which the ledger learned of it. Example: [b]curation history 3f9a2c[/b]
    """
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        stored = find_sample(conn, id, dataset)
        events = ledger_history.history(conn, stored.pk)
        places = [f"{place.file}:{place.line}" for place in list_occurrences(conn, stored.pk)]
    if json:
        told = [{"at": event.at, "kind": event.kind, **event.facts} for event in events]
        print_json({"id": stored.sample.id, "lines": places, "events": told})
        return
    where = ", ".join(places[:3]) + (f" and {len(places) - 3:,} more lines" if len(places) > 3 else "")
    console.print(Text.assemble((stored.sample.id, "bold"), f"  {plain(where or 'on no line any more')}"))
    table = Table(box=None, pad_edge=False, show_header=False)
    for event in events:
        at = event.at.strftime("%Y-%m-%d %H:%M:%S")
        table.add_row(Text(at, "dim"), Text(event.kind, "bold"), Text(plain(ledger_history.words(event))))
    console.print(table)
    console.print("[dim]times are UTC[/]")
