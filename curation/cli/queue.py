"""`curation queue`: the review queue, a page at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from curation.cli.console import console, plain, print_json
from curation.cli.options import Dataset, Json, ScorerId
from curation.ledger.engine import open_ledger, reading
from curation.ledger.intervals import Interval, intervals_of
from curation.ledger.queue import Page, QueueItem, page
from curation.ledger.targets import find_target
from curation.settings import Settings, get_settings
from curation.triage import Tier

_NUMBERS_WIDTH = 60
"""Columns that everything but the words takes, so that these fill the rest of a line and never wrap."""

TIER_STYLE = {"critical": "bold red", "high": "red", "medium": "yellow", "low": "green"}


def queue(
    dataset: Dataset = None,
    scorer: ScorerId = None,
    tier: Annotated[
        list[str] | None, typer.Option(help="Only this tier: critical, high, medium, low. May be repeated.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Samples on a page.")] = 20,
    after: Annotated[
        str | None, typer.Option(help="Go on after this cursor (printed under each page).")
    ] = None,
    open_: Annotated[
        bool, typer.Option("--open", help="Open it where it is reviewed, on the labeling platform.")
    ] = False,
    target: Annotated[str | None, typer.Option(help="Target to open. Default: the only one.")] = None,
    json: Json = False,
) -> None:
    """Show samples in review order: quarantined, not yet scored, then riskiest first (higher = riskier).

    Example: [b]curation queue --tier critical --tier high --limit 50[/b]
    """
    from curation.cli.scoring import choose

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    if open_ or target:
        _open(engine, settings, target)
        return
    with reading(engine) as conn:
        chosen, stored = choose(conn, dataset, scorer)
        found = page(
            conn, chosen.id, stored.id, limit, after, cast("list[Tier] | None", tier), settings.tiers
        )
        bands = intervals_of(conn, chosen.id, stored.id, [item.pk for item in found.items])
    if json:
        print_json({"items": [as_json(i, bands.get(i.pk)) for i in found.items], "next": found.next_cursor})
    else:
        console.print(queue_table(found.items, f"{chosen.name}, scorer {stored.fingerprint[:12]}", bands))
        _say_next(found, dataset)


def _open(engine: Engine, settings: Settings, name: str | None) -> None:
    """Print where a target is reviewed, and have the browser go there."""
    from curation.platforms.opening import open_platform

    with reading(engine) as conn:
        chosen = find_target(conn, name)
    url = open_platform(chosen, settings).queue_url()
    console.print(url, markup=False, soft_wrap=True)
    typer.launch(url)


def queue_table(items: Sequence[QueueItem], title: str, bands: Mapping[int, Interval] | None = None) -> Table:
    """The queue as a table for people; where there are intervals (by sample), they take the place of the terms."""
    table = Table(title=f"{plain(title)} - higher = riskier", title_justify="left", box=None, pad_edge=False)
    terms = ("risk [5 %, 95 %]", "pct", "tier") if bands else ("risk", "pct", "tier", "danger", "safety")
    for name in ("id", *terms, "tokens", "first words"):
        justify = "left" if name in ("id", "tier", "first words") else "right"
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    room = max(20, console.width - _NUMBERS_WIDTH)
    for item in items:
        numbers = _numbers(item) if not bands else _numbers_with(item, bands.get(item.pk))
        table.add_row(item.content_hash[:8], *numbers, Text(_words(item, room)))
    return table


def as_json(item: QueueItem, band: Interval | None = None) -> dict[str, Any]:
    """A queue item for programs; numbers are null unless it is scored, those of the interval unless it has one."""
    numbers = (
        "risk",
        "percentile",
        "tier",
        "danger",
        "safety",
        "loss",
        "grad_norm",
        "n_tokens",
        "n_answer_tokens",
    )
    return {
        "id": item.content_hash,
        "state": item.state,
        "reason": item.reason,
        **{name: getattr(item, name) for name in (*numbers, "truncated", "copies")},
        **{name: getattr(band, name, None) for name in Interval._fields},
        "prompt": item.sample.prompt[:200],
        "answer": item.sample.answer[:200],
    }


def _numbers(item: QueueItem) -> list[str | Text]:
    if item.state != "scored":
        return ["", "", Text(item.state, "bold magenta"), "", "", ""]
    tier: Tier = item.tier or "low"
    return [
        f"{item.risk:+.2f}",
        f"{item.percentile:.1f}",
        Text(tier, TIER_STYLE[tier]),
        f"{item.danger:+.2f}",
        f"{item.safety:+.2f}",
        f"{item.n_tokens}",
    ]


def _numbers_with(item: QueueItem, band: Interval | None) -> list[str | Text]:
    if item.state != "scored":
        return ["", "", Text(item.state, "bold magenta"), ""]
    risk, percentile, tier, _, _, tokens = _numbers(item)
    between = f" [{band.risk_low:.1f}, {band.risk_high:.1f}]" if band else ""
    return [Text(f"{risk}{between}"), percentile, tier, tokens]


def _words(item: QueueItem, room: int) -> str:
    reason = f"[{item.reason}] " if item.reason else ""
    copies = f"(x{item.copies}) " if item.copies > 1 else ""
    asked = plain(item.sample.prompt, room if room < 40 else room // 2)
    return plain(f"{reason}{copies}{asked} → {plain(item.sample.answer, room)}", room)


def _say_next(found: Page, dataset: str | None) -> None:
    if found.items:
        console.print(f"[dim]why: curation explain {found.items[0].content_hash[:8]}[/]")
    if found.next_cursor:
        name = f" --dataset {dataset}" if dataset else ""
        console.print(f"[dim]more: curation queue{name} --after {found.next_cursor}[/]", soft_wrap=True)
