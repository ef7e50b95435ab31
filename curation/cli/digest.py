"""`curation digest`: what happened in the last day, or another period, for people, programs and hooks."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine

from curation.cli.console import console, errors, plain, print_json
from curation.cli.options import Json
from curation.errors import InputError
from curation.ledger import hooks
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import find_dataset, list_datasets
from curation.settings import Settings, get_settings

if TYPE_CHECKING:
    from curation.ledger.period import NewRisky
    from curation.report.digest import Digest

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def digest(
    since: Annotated[
        str, typer.Option(help="How far back: a number and m, h, d or w, such as 90m or 7d.")
    ] = "24h",
    dataset: Annotated[str | None, typer.Option(help="Only this dataset. Default: all of them.")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write it to this file, as a page.")] = None,
    send: Annotated[
        bool,
        typer.Option(
            "--send", help="Also send it to the hooks, as a message of the type `digest`, without text."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Say what happened: samples, scores, new critical ones, decisions, agreement, exports, platforms, what is left.

    Meant for cron or a systemd timer, once a day. All of it is counted in the ledger now.

    Example: [b]curation digest --since 7d --html week.html --send[/b]
    """
    from curation.report.digest import collect_digest, digest_json, write_digest

    length = _length(since)
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen = [find_dataset(conn, dataset)] if dataset else list_datasets(conn)
        made = collect_digest(conn, length, chosen, settings.tiers)
    if html:
        write_digest(made, html)
    if json:
        print_json(digest_json(made, text=True) | ({"html": str(html.resolve())} if html else {}))
    else:
        _show(made)
        if html:
            console.print(f"page: {html.resolve()}", markup=False, soft_wrap=True)
    if send and not _send(engine, settings, made):
        raise typer.Exit(1)


def _length(text: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text.strip())
    if not found or not int(found[1]):
        raise InputError(
            f"{text!r:.40} is no length of time", "Give a number and m, h, d or w, such as 24h or 7d."
        )
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _send(engine: Engine, settings: Settings, made: Digest) -> bool:
    """Whether every hook has it; one that fails gets it later, as any message."""
    from curation.reconcile.announce import announce
    from curation.report.digest import KIND, digest_json

    if not made.hooks:
        raise InputError("there is no hook to send the digest to", "Add one: curation hooks add URL")
    arrived = True
    for hook in made.hooks:
        data = digest_json(made, text=False)
        if hook.dataset is not None:  # it was added for one dataset, and hears of that alone
            for key in ("datasets", "exports", "targets"):
                data[key] = [one for one in data[key] if one["dataset"] == hook.dataset]
            data["n_exports"] = len(data["exports"])
        hooks.put_message(engine, hook.id, KIND, data)
        announce(engine, hook.id, settings)
        with reading(engine) as conn:
            now = hooks.hook_by_id(conn, hook.id)
        if now.waiting:
            errors.print(
                Text(f"hook {hook.id} does not have it yet: {now.trouble or 'it is busy'}", "yellow")
            )
            arrived = False
    return arrived


def _show(made: Digest) -> None:
    console.print(f"{made.since:%Y-%m-%d %H:%M} to {made.until:%Y-%m-%d %H:%M} UTC; higher risk = riskier")
    _show_datasets(made)
    for one in made.datasets:
        if one.n_critical:
            console.print(_critical_table(one.name, one.n_critical, one.critical))
    for each in made.exports[:10]:
        console.print(
            f"export {each.number}: {each.rows:,} rows of {plain(each.dataset, 40)} as {plain(each.format, 20)} by "
            f"{plain(each.by, 40)}, {each.at:%Y-%m-%d %H:%M}",
            markup=False,
        )
    if made.n_exports > 10:
        console.print(f"and {made.n_exports - 10:,} exports before")
    if made.targets:
        from curation.cli.targets import targets_table

        console.print(targets_table(list(made.targets)))
    for hook in made.hooks:
        if hook.trouble:
            console.print(Text(f"hook {hook.id}: {hook.trouble}; {hook.waiting:,} messages wait", "yellow"))


def _show_datasets(made: Digest) -> None:
    quiet = [one for one in made.datasets if one.quiet and not one.unscored]
    table = Table(box=None, pad_edge=False)
    table.add_column("dataset")
    for name in (
        "ingested",
        "scored",
        "critical",
        "quarantined",
        "approved",
        "rejected",
        "agreement",
        "not scored",
    ):
        table.add_column(name, justify="right")
    for one in made.datasets:
        if one in quiet:
            continue
        did, agreed = one.happened, one.agreed
        alpha = f"{agreed.alpha.value:.2f}" if agreed.alpha else "all alike" if agreed.n else ""
        numbers = did.ingested, did.scored, one.n_critical, did.quarantined, did.approved, did.rejected
        table.add_row(Text(plain(one.name, 40)), *(f"{n:,}" for n in numbers), alpha, f"{one.unscored:,}")
    if len(quiet) < len(made.datasets):
        console.print(table)
    if quiet:
        console.print(f"nothing happened in {len(quiet):,} of {len(made.datasets):,} datasets")


def _critical_table(name: str, n: int, listed: Sequence[NewRisky]) -> Table:
    from curation.report.format import percentile

    more = f", the riskiest {len(listed):,}" if len(listed) < n else ""
    table = Table(
        title=Text(f"new critical samples: {plain(name, 40)}, {n:,}{more}"),
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    for column in ("id", "risk", "pct", "prompt"):
        table.add_column(column, justify="right" if column in ("risk", "pct") else "left")
    for row in listed:
        words = Text(plain(row.sample.prompt, 60))
        table.add_row(row.content_hash[:8], f"{row.risk:+.3g}", percentile(row.percentile), words)
    return table
