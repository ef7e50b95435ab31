"""`curation decide` and `curation conflicts`: what reviewers say of samples, and where they disagree."""

from __future__ import annotations

import getpass
from typing import Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from curation.cli.console import console, plain, print_json
from curation.cli.options import Dataset, Json
from curation.errors import InputError
from curation.ledger.decisions import (
    Decision,
    NewDecision,
    Verdict,
    decided_samples,
    find_text,
    record_decisions,
)
from curation.ledger.engine import open_ledger, reading
from curation.ledger.samples import list_occurrences
from curation.review.fold import Rule, disagree, last_words, standing
from curation.review.incoming import read_decisions
from curation.settings import get_settings

SOURCE = "command line"

DecidedBy = Annotated[
    Literal["any-reject", "unanimous", "majority", "last"],
    typer.Option(help="How several reviewers add up: any-reject, unanimous, majority, or last."),
]
By = Annotated[str | None, typer.Option(help="Who does it. Default: your name on this computer.")]


def decide(
    id: Annotated[str | None, typer.Argument(help="Start of a sample's id, at least 6 digits.")] = None,
    verdict: Annotated[
        Literal["approve", "reject", "withdraw"] | None,
        typer.Argument(help="approve, reject, or withdraw: take back what you said of it before."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why.")] = None,
    by: By = None,
    file: Annotated[
        str | None,
        typer.Option(
            "--from", help="CSV or JSONL with id, verdict, reviewer, decided_at; reason, note, remote_id."
        ),
    ] = None,
    dataset: Dataset = None,
    json: Json = False,
) -> None:
    """Approve or reject a sample, or read decisions from a file. Decisions are only ever added.

    A decision holds for this very text: an edited line needs a new one. Reading a file again changes nothing.
    Examples: [b]curation decide 3f9a2c reject --reason "names a person"[/b],
    [b]curation decide --from decisions.csv[/b]
    """
    from curation.cli.scoring import choose_dataset

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen = choose_dataset(conn, dataset)
        if file is None:
            made = [_typed(conn, chosen.id, id, verdict, reason, user_name(by))]
        elif id or verdict or reason or by:
            raise InputError(
                "a file brings its own ids and verdicts", "Give either ID and VERDICT, or --from FILE."
            )
        else:
            made = read_decisions(file, lambda prefix: find_text(conn, chosen.id, prefix))
    new = record_decisions(engine, chosen.id, made)
    if json:
        print_json({"dataset": chosen.name, "read": len(made), "new": new, "known": len(made) - new})
    elif file is None:
        console.print(
            f"{made[0].content_hash[:8]}: {made[0].verdict} by {plain(made[0].reviewer)}", markup=False
        )
    else:
        console.print(f"{new:,} new decisions, {len(made) - new:,} known already, in dataset {plain(chosen.name)}",
                      markup=False)  # fmt: skip


def conflicts(
    dataset: Dataset = None,
    decided_by: DecidedBy = "any-reject",
    limit: Annotated[int, typer.Option(min=1, help="Samples to list.")] = 50,
    json: Json = False,
) -> None:
    """List samples on which reviewers disagree, and how each stands meanwhile.

    Example: [b]curation conflicts --decided-by majority[/b]
    """
    from curation.cli.scoring import choose_dataset

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    found: list[dict[str, Any]] = []
    n = 0
    with reading(engine) as conn:
        chosen = choose_dataset(conn, dataset)
        for pk, decisions in decided_samples(conn, chosen.id):
            words = last_words(decisions)
            if disagree(words):
                n += 1
                if len(found) < limit:
                    found.append({"pk": pk} | _conflict(words, decided_by))
        for conflict in found:
            places = list_occurrences(conn, conflict.pop("pk"))
            conflict["lines"] = [f"{place.file}:{place.line}" for place in places]
    if json:
        print_json({"dataset": chosen.name, "decided_by": decided_by, "conflicts": n, "items": found})
    elif not found:
        console.print("no conflicts: nobody rejects what another approves")
    else:
        console.print(_table(found, f"{plain(chosen.name)}: samples on which reviewers disagree: {n:,}"))


def user_name(given: str | None) -> str:
    """The name given, or the user's own on this computer. Raises InputError if the computer does not know it."""
    if given is not None:
        return given
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise InputError("this computer does not say who you are", "Give your name: --by NAME.") from None


def _typed(
    conn: Connection, dataset_id: int, id: str | None, verdict: Verdict | None, reason: str | None, by: str
) -> NewDecision:
    if id is None or verdict is None:
        raise InputError("what is decided on which sample?", "For example: curation decide 3f9a2c approve")
    return NewDecision(find_text(conn, dataset_id, id), verdict, by, SOURCE, reason)


def _conflict(words: list[Decision], rule: Rule) -> dict[str, Any]:
    said = [
        {"reviewer": w.reviewer, "verdict": w.verdict, "decided_at": w.decided_at, "reason": w.reason}
        for w in words
    ]
    return {"id": words[0].content_hash, "stands": standing(words, rule), "words": said}


def _table(found: list[dict[str, Any]], title: str) -> Table:
    table = Table(title=Text(title), title_justify="left", box=None, pad_edge=False)
    for name in ("id", "stands", "approve", "reject", "line"):
        table.add_column(name, overflow="fold")
    for conflict in found:
        sides = {
            side: ", ".join(_said(word) for word in conflict["words"] if word["verdict"] == side)
            for side in ("approve", "reject")
        }
        where = (conflict["lines"] or ["on no line any more"])[0]
        row = (conflict["id"][:8], conflict["stands"], sides["approve"], sides["reject"], plain(where, 40))
        table.add_row(*map(Text, row))
    return table


def _said(word: dict[str, Any]) -> str:
    reason = f" ({plain(word['reason'], 60)})" if word["reason"] else ""
    return plain(word["reviewer"], 30) + reason
