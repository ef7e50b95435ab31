"""`curation hooks`: who is told of new risky samples, by a signed webhook."""

from __future__ import annotations

import uuid
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Engine

from curation.cli.console import console, errors, plain, print_json
from curation.cli.options import Json
from curation.ledger import hooks
from curation.ledger.engine import open_ledger, reading
from curation.ledger.hooks import Hook
from curation.ledger.samples import find_dataset
from curation.report.format import ago
from curation.settings import Settings, get_settings
from curation.webhooks import check_url, deliver, shown

app = typer.Typer(no_args_is_help=True, help="Who is told of new risky samples, by a signed webhook.")

Number = Annotated[int, typer.Argument(help="Number of the hook, as `curation hooks list` shows it.")]


@app.callback()
def group() -> None:
    """Who is told of new risky samples, by a signed webhook."""


@app.command()
def add(
    url: Annotated[str, typer.Argument(help="Address of the receiver, http or https.")],
    dataset: Annotated[str | None, typer.Option(help="Only this dataset. Default: all of them.")] = None,
    tier: Annotated[
        Literal["critical", "high", "medium"], typer.Option(help="Least risky tier to be told of.")
    ] = "critical",
    json: Json = False,
) -> None:
    """Have an address told of every sample that is critical, or could not be scored, once.

    Messages name samples by their ids, with counts, percentiles and risks (higher = riskier), and hold none of their
    text. They are signed by Standard Webhooks with a secret that is shown this once. A message may come twice, with
    the same id, and none is given up. Workers send them, or, without a broker, `score`, `triage` and `watch`.

    Example: [b]curation hooks add https://alerts.example/curation --dataset support[/b]
    """
    check_url(url)
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    dataset_id = None
    if dataset is not None:
        with reading(engine) as conn:
            dataset_id = find_dataset(conn, dataset).id
    number, secret = hooks.add_hook(engine, url, dataset_id, tier)
    if json:
        print_json({"hook": number, "url": url, "dataset": dataset, "tier": tier, "secret": secret})
        return
    console.print(f"hook {number}: {tier} samples of {dataset or 'all datasets'}", markup=False)
    console.print("secret, shown this once:", secret, markup=False, soft_wrap=True)
    console.print(f"try it: [b]curation hooks test {number}[/b]")


@app.command("list")
def list_(json: Json = False) -> None:
    """List the hooks, what waits for each, and what is in the way."""
    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        known = hooks.list_hooks(conn)
    if json:
        print_json([_as_json(hook) for hook in known])
        return
    if not known:
        console.print("none: [b]curation hooks add URL[/b]")
        return
    table = Table(box=None, pad_edge=False)
    for column in ("hook", "address", "dataset", "tier", "delivered", "waiting", "failures", "trouble"):
        table.add_column(column, justify="right" if column in ("hook", "waiting", "failures") else "left")
    for hook in known:
        table.add_row(
            str(hook.id), escape(plain(shown(hook.url), 60)), escape(plain(hook.dataset or "all", 30)), hook.tier,
            ago(hook.since_delivery), str(hook.waiting), str(hook.failures), hook.trouble or "",
        )  # fmt: skip
    console.print(table)


@app.command()
def remove(number: Number) -> None:
    """Forget a hook, with whatever it was not told yet."""
    settings = get_settings()
    hooks.remove_hook(open_ledger(settings.url, settings.home), number)
    console.print(f"hook {number} is gone")


@app.command()
def test(number: Number) -> None:
    """Send a hook one message of the type `test`, now and once. Exit code 1 if it is not accepted."""
    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        hook = hooks.hook_by_id(conn, number)
    body = orjson.dumps({"type": "test", "data": {"hook": number}}).decode()
    deliver(hook.url, hook.secret, f"msg_{uuid.uuid4().hex}", body, private=settings.hooks_private)
    console.print(f"hook {number} accepted it")


def tell_hooks(engine: Engine, settings: Settings, quiet: bool) -> None:
    """What follows scoring where no worker does it: hooks are told what is new. Their failures are only shown."""
    from curation.reconcile.announce import announce_all

    if settings.broker_url is not None:
        return
    for hook, done in announce_all(engine, settings):
        if done.trouble:
            errors.print(f"[yellow]hook {hook.id}: {escape(done.trouble)}; it is tried again later[/]")
        elif done.messages and not quiet:
            console.print(f"hook {hook.id} was told of {done.samples:,} samples")


def _as_json(hook: Hook) -> dict[str, Any]:
    return {
        "hook": hook.id,
        "url": hook.url,
        "dataset": hook.dataset,
        "tier": hook.tier,
        "failures": hook.failures,
        "trouble": hook.trouble,
        "waiting": hook.waiting,
        "seconds_since_delivery": hook.since_delivery,
        "created_at": hook.created_at.isoformat(),
    }
