"""`curation policy` and `curation keys`: what export goes by."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from curation.cli.console import console, plain, print_json
from curation.cli.options import Dataset as DatasetName
from curation.cli.options import Json
from curation.ledger.engine import open_ledger, reading
from curation.ledger.exports import list_policies
from curation.ledger.samples import Dataset, find_dataset, list_datasets
from curation.ledger.scores import newest_scorer
from curation.settings import get_settings

policy = typer.Typer(no_args_is_help=True, help="What may leave.")
keys = typer.Typer(no_args_is_help=True, help="Keys to sign exports with.")

PolicyFile = Annotated[Path, typer.Option(help="The policy, a TOML file: curation policy init prints one.")]


@policy.callback()
def group() -> None:
    """What may leave."""


@policy.command()
def init() -> None:
    """Print a policy to begin with, explained, for the newest scorer: nothing leaves without an approval.

    Example: [b]curation policy init > policy.toml[/b]
    """
    from curation.gate.policy import EXAMPLE

    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        _, fingerprint = newest_scorer(conn)
    typer.echo(EXAMPLE.format(scorer=fingerprint[:12] if fingerprint else "0" * 12), nl=False)


@policy.command()
def check(
    file: Annotated[Path, typer.Argument(help="The policy, a TOML file.")],
    dataset: DatasetName = None,
    json: Json = False,
) -> None:
    """Say in words what a policy does, and what it would let out of each dataset now. Nothing is written.

    Example: [b]curation policy check policy.toml --dataset support[/b]
    """
    from curation.gate.policy import load_policy
    from curation.gate.selection import check_names

    read = load_policy(file)
    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        check_names(conn, read)
        chosen = [find_dataset(conn, dataset)] if dataset else list_datasets(conn)
        looked = [_look(conn, read, one) for one in chosen]
    if json:
        print_json(looked)
        return
    for one in looked:
        _say(one)
    if not looked:
        console.print("the policy is sound; the ledger has no dataset yet")


@policy.command("list")
def list_() -> None:
    """List every policy that something was exported by, oldest first, as JSON."""
    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        print_json([one._asdict() for one in list_policies(conn)])


@keys.callback()
def keys_group() -> None:
    """Keys to sign exports with."""


@keys.command()
def new(
    file: Annotated[Path, typer.Argument(help="Where to write the private key; FILE.pub is the public one.")],
) -> None:
    """Make a key pair (Ed25519). Keep the private key to yourself, and give the public one to who trains.

    Example: [b]curation keys new release.key[/b]
    """
    from curation.gate.keys import new_pair

    public = new_pair(file)
    console.print(f"private key: {file}\npublic key:  {public}", markup=False)


def _look(conn: Connection, read: Any, dataset: Dataset) -> dict[str, Any]:
    from curation.gate.policy import in_words, sha256_of
    from curation.gate.selection import Tally, scorer_of, select

    own = read.for_dataset(dataset.name)
    scorer = scorer_of(conn, own)
    tally = Tally()
    for _ in select(conn, dataset, scorer, own, tally):
        pass
    return {
        "dataset": dataset.name,
        "policy": sha256_of(own),
        "scorer": scorer.fingerprint,
        "decided_by": own.decided_by,
        "rules": in_words(own),
        "lines": tally.lines,
        "out": dict(tally.out),
        "held": tally.held_in_order(),
    }


def _say(one: dict[str, Any]) -> None:
    from curation.review.fold import RULE_WORDS

    console.print(
        Text.assemble("dataset ", (plain(one["dataset"]), "bold"), f", scorer {one['scorer'][:12]}")
    )
    for line in one["rules"]:
        console.print(f"  {line}", markup=False)
    console.print(f"  reviewers who disagree: {RULE_WORDS[one['decided_by']]}", markup=False)
    console.print("  held always: quarantined, not scored by this scorer, edited since, rejected")
    console.print(counts_table(one["lines"], one["out"], one["held"], "now"))


def counts_table(lines: int, out: dict[str, int], held: dict[str, int], title: str) -> Table:
    """What leaves and what stays in, by reason."""
    from curation.gate.judge import HELD_WORDS

    table = Table(title=f"{title}: {sum(out.values()):,} of {lines:,} lines leave", title_justify="left", box=None,
                  pad_edge=False, show_header=False)  # fmt: skip
    table.add_column(justify="right")
    for because, n in out.items():
        words = "approved" if because == "approved" else "passed without review, as the policy allows"
        table.add_row(Text(f"{n:,}"), Text("out", "green"), Text(words))
    for reason, n in held.items():
        table.add_row(Text(f"{n:,}"), Text("held", "yellow"), Text(HELD_WORDS[reason]))  # type: ignore[index]
    return table
