"""`curation sync` and `curation targets`: keep labeling platforms and ledger in step."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from typing import Annotated

import typer
from markupsafe import Markup
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from curation.cli.console import console, errors, plain, print_json, progress
from curation.cli.options import Json, Quiet
from curation.errors import CurationError, LedgerError
from curation.ledger.engine import open_ledger, reading
from curation.ledger.scores import scorer_by_id
from curation.ledger.targets import Target, find_target, forget_target, list_targets
from curation.reconcile.push import Pushed
from curation.reconcile.sync import sync_target
from curation.report.format import ago
from curation.settings import Settings, get_settings

TargetName = Annotated[str | None, typer.Argument(help="Target by its name. Default: all of them.")]

targets = typer.Typer(no_args_is_help=True, help="Projects on labeling platforms where samples are reviewed.")


def sync(
    target: TargetName = None,
    watch: Annotated[
        float | None, typer.Option(min=1, help="Go on for ever, with a look every so many seconds.")
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring decisions in and the order of risk out, on every connected platform.

    Every run makes the platform show what the ledger holds now, whatever it showed before: run it as often as you
    like. Where a broker is set, workers do the same by themselves.

    Example: [b]curation sync --watch 30[/b]
    """
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    while True:
        with reading(engine) as conn:
            chosen = [find_target(conn, target)] if target else list_targets(conn) or [find_target(conn)]
        failed = [
            each for each in chosen if not _sync_one(engine, settings, each, json, quiet, alone=not watch)
        ]
        if watch is None:
            raise typer.Exit(1 if failed else 0)
        time.sleep(watch)


def _sync_one(
    engine: Engine, settings: Settings, target: Target, json: bool, quiet: bool, *, alone: bool
) -> bool:
    """Whether the target is up to date now. A failure is told, and the others go on."""
    bar = progress(quiet or json)
    task = bar.add_task(f"looking at {plain(target.name)}", total=None, rate="")

    def told(what: str, done: int, total: int) -> None:
        bar.update(task, description=f"{what} on {plain(target.name)}", completed=done, total=total)

    try:
        with bar if alone else nullcontext():
            done = sync_target(engine, target.id, settings, at_once=alone, told=told)
    except CurationError as error:
        errors.print(f"[red]{escape(target.name)}:[/] {escape(error.message)}")
        errors.print(f"  [b]next:[/] {escape(error.hint)}")
        return False
    if json:
        print_json({"target": target.name} | asdict(done))
    elif alone or _news(done):
        _tell(target, done)
    return True


def _news(done: Pushed) -> bool:
    return bool(done.created or done.reordered or done.pulled.decisions or done.pulled.new_items)


def _tell(target: Target, done: Pushed) -> None:
    pulled = done.pulled
    console.print(f"[b]{escape(target.name)}[/b] ({target.platform} {escape(target.project)})")
    console.print(
        f"  in:  {pulled.decisions:,} decisions, {pulled.new_items:,} new items, {pulled.edited:,} with a new text"
    )
    order = "in a new order" if done.reordered else "in the order it had"
    if done.waiting:
        order = "a new order follows in a while"
    if not done.scorer:
        order = "no scorer yet: run `curation score`"
    console.print(f"  out: {done.created:,} new items; {done.items:,} items, {order}")
    if pulled.outdated:
        console.print(f"  [yellow]{pulled.outdated:,} answers were given on a text that has changed since[/]")
    for remote_id, problem in list(pulled.unusable.items())[:3]:
        console.print(f"  [yellow]{escape(remote_id)} holds no sample:[/] {escape(plain(problem, 80))}")
    if len(pulled.unusable) > 3:
        console.print(f"  [yellow]and {len(pulled.unusable) - 3:,} more[/]")
    for problem in done.problems:
        console.print(f"  [yellow]{escape(problem)}[/]")


def heat(
    target: Annotated[str | None, typer.Argument(help="Target by its name. Default: the only one.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many of the riskiest that wait.")] = 50,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show reviewers where the risk of the riskiest samples comes from: their tokens, coloured (red = toward danger).

    It stays closed until a reviewer opens it. Needs a target that was connected with --heat; the samples are scored
    once more for it, with the scorer that the target shows.
    """
    from curation.cli.scoring import same_scorer
    from curation.reconcile.explain import keep_explanation
    from curation.reconcile.reasons import riskiest_waiting, show_reasons, token_heat
    from curation.sqsd.maps import explain

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen = find_target(conn, target)
        if chosen.scorer_id is None:
            raise LedgerError(f"the target {chosen.name} shows no order yet", "Run `curation sync` first.")
        stored = scorer_by_id(conn, chosen.scorer_id)
    waiting = riskiest_waiting(engine, chosen, stored.id, top)
    scorer = same_scorer(settings, stored, quiet or json)
    with progress(quiet or json) as bar:
        task = bar.add_task("explaining", total=len(waiting), rate="")

        def found() -> Iterator[tuple[str, Markup]]:
            for remote_id, stored_sample in waiting:
                why = explain(scorer, stored_sample.sample)
                keep_explanation(engine, stored.id, stored_sample.pk, why)
                yield remote_id, token_heat(why.pieces, why.risk_by_position())
                bar.advance(task)

        done = show_reasons(engine, chosen, settings, found())
    if json:
        print_json({"target": chosen.name, "shown": done})
    else:
        console.print(f"{done:,} samples of [b]{escape(chosen.name)}[/b] show where their risk comes from")


@targets.callback()
def group() -> None:
    """Projects on labeling platforms where samples are reviewed."""


@targets.command("list")
def list_(json: Json = False) -> None:
    """List the targets, what they show and how long ago they were looked at."""
    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        known = list_targets(conn)
    if json:
        print_json([asdict(target) for target in known])
        return
    if not known:
        console.print("none: [b]curation connect --help[/b]")
        return
    console.print(targets_table(known))


@targets.command()
def forget(name: Annotated[str, typer.Argument(help="Target by its name.")]) -> None:
    """Forget a target. Its project on the platform, and every decision from it, stay as they are."""
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        target = find_target(conn, name)
    forget_target(engine, target.id)
    console.print(f"forgot [b]{escape(name)}[/b]; {escape(target.url)} was not touched")


def targets_table(known: list[Target]) -> Table:
    """Targets for people: where they are and how far behind."""
    table = Table(title="labeling platforms", title_justify="left", box=None, pad_edge=False)
    for column in ("target", "platform", "project", "dataset", "order shown", "decisions read", "trouble"):
        table.add_column(column)
    for t in known:
        table.add_row(
            escape(plain(t.name)), t.platform, escape(plain(t.project)), escape(plain(t.dataset)),
            ago(t.since_push), ago(t.since_pull), escape(plain(t.trouble or "", 60)),
        )  # fmt: skip
    return table
