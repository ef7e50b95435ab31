"""`curation token`: who may use the service."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer
from rich.table import Table
from rich.text import Text

from curation.cli.console import console, plain, print_json
from curation.cli.options import Json
from curation.ledger import tokens
from curation.ledger.engine import open_ledger, reading
from curation.settings import get_settings

app = typer.Typer(no_args_is_help=True, help="Who may use the service.")

_SCOPES = (
    "ingest (add samples), read (datasets, queue, status, metrics), metrics (these alone), "
    "review (log in to the pages and decide there, under the token's name)"
)


@app.callback()
def group() -> None:
    """Who may use the service: tokens for [b]curation serve[/b]."""


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, or what for.")],
    scope: Annotated[list[str], typer.Option(help=f"What it is good for; may be repeated. {_SCOPES}.")],
    json: Json = False,
) -> None:
    """Make a token and print it, this once: the ledger keeps only its hash.

    To change a token without a break, make a second one, hand it over, and revoke the first.
    """
    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    made = tokens.create_token(engine, name, cast("list[tokens.Scope]", scope))
    if json:
        print_json({"name": name, "token": made})
    else:
        console.print(made, markup=False, soft_wrap=True)


@app.command("list")
def list_(json: Json = False) -> None:
    """List the tokens, revoked ones included. The tokens themselves are not known to anybody."""
    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        known = tokens.list_tokens(conn)
    if json:
        print_json([_as_json(token) for token in known])
        return
    table = Table(box=None, pad_edge=False)
    for column in ("name", "scopes", "made", "revoked"):
        table.add_column(column)
    for token in known:
        ended = token.revoked_at.strftime("%Y-%m-%d %H:%M") if token.revoked_at else ""
        made = token.created_at.strftime("%Y-%m-%d %H:%M")
        table.add_row(Text(plain(token.name)), ", ".join(token.scopes), made, ended)
    console.print(table)


@app.command()
def revoke(name: Annotated[str, typer.Argument(help="Name of the token.")]) -> None:
    """End a token, at once and for good."""
    settings = get_settings()
    tokens.revoke_token(open_ledger(settings.url, settings.home), name)
    console.print(Text(f"{plain(name)} is revoked"))


def _as_json(token: tokens.Token) -> dict[str, Any]:
    return {
        "name": token.name,
        "scopes": token.scopes,
        "created_at": token.created_at.isoformat(),
        "revoked_at": token.revoked_at.isoformat() if token.revoked_at else None,
    }
