"""`curation select`: the largest part of a dataset whose predicted drift stays under a bound, as a proposal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import typer
from rich.table import Table
from sqlalchemy import Connection

from curation.cli.console import console, errors, plain, print_json
from curation.cli.options import Dataset, Json, ScorerId
from curation.drift import ADDITIVE, Drift, Selection, read_bound, rows_to_mix, select_rows
from curation.errors import InputError
from curation.ledger.engine import open_ledger, reading
from curation.ledger.overview import Counts, ScoreColumns, counts, ranked_ids, score_columns
from curation.ledger.queue import MAX_PAGE, page
from curation.ledger.samples import Dataset as StoredDataset
from curation.ledger.scores import Scorer as StoredScorer
from curation.settings import get_settings

LABEL = "first-order prediction"
COSINE_LABEL = "sum of cosines, not a first-order prediction"
COSINE_NOTE = (
    "cosines do not add up to a drift: each row's update is divided by its own length, as no step of plain gradient "
    "descent is. Steps of AdamW are of nearly one length, and there such sums may tell more than those of projections "
    "do: docs/method.md has the numbers and their limits. What adds up: curation score --metric projection"
)


def select(
    drift: Annotated[
        str,
        typer.Option(
            help="Upper bound on the predicted net drift: a number in the scorer's units, or 50% of the whole."
        ),
    ],
    dataset: Dataset = None,
    scorer: ScorerId = None,
    mix: Annotated[
        str | None,
        typer.Option(
            help="Dataset of refusals scored by the same scorer: how many of them would do instead?"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where to write the proposals.")] = Path(
        "curation-proposals.jsonl"
    ),
    plot: Annotated[Path | None, typer.Option(help="Picture of drift over rows kept: .png or .svg.")] = None,
    json: Json = False,
) -> None:
    """Propose the largest part of a dataset whose predicted net drift, danger - safety, stays under a bound.

    A first-order prediction for scores that add up (projection or dot): what training on the rows does to the
    model, along two directions, with small steps of plain gradient descent. Scores by cosine do not add up and are
    taken with a warning. It writes proposals and decides nothing. Examples:

        curation score --metric projection
        curation select --drift 50% --mix refusals --plot drift.png
    """
    from curation.cli.scoring import choose, choose_dataset

    settings = get_settings()
    engine = open_ledger(settings.url, settings.home)
    with reading(engine) as conn:
        chosen, stored = choose(conn, dataset, scorer)
        total = counts(conn, chosen.id, stored.id)
        columns = score_columns(conn, chosen.id, stored.id)
        net = float(columns.danger.sum() - columns.safety.sum())
        selection = select_rows(columns.danger, columns.safety, read_bound(drift, net))
        mixed = _mix(conn, choose_dataset(conn, mix), stored, selection) if mix else None
        _write(out, _proposals(conn, chosen, stored, selection, columns))
    found = _found(chosen, stored, total, selection, columns, mixed) | {"proposals": str(out.resolve())}
    if plot:
        from curation.figures import draw_selection

        draw_selection(selection, plot, found["label"])
        found["plot"] = str(plot.resolve())
    if json:
        print_json(found)
    else:
        _say(found)


def _label(stored: StoredScorer) -> str:
    return LABEL if stored.card.get("metric") in ADDITIVE else COSINE_LABEL


def _mix(
    conn: Connection, refusals: StoredDataset, stored: StoredScorer, selection: Selection
) -> dict[str, Any]:
    """How many rows of another dataset it takes to bring the whole set under the bound."""
    scored = score_columns(conn, refusals.id, stored.id)
    if not len(scored.pk):
        raise InputError(
            f"the dataset {refusals.name} has no score by the scorer {stored.fingerprint[:12]}",
            f"Score it with the same settings: curation score --dataset {refusals.name} --metric "
            f"{stored.card.get('metric')}",
        )
    mean = float(np.mean(scored.danger - scored.safety))
    needed = rows_to_mix(selection.before.net, mean, selection.bound)
    return {
        "dataset": refusals.name,
        "rows": len(scored.pk),
        "mean_danger": float(np.mean(scored.danger)),
        "mean_safety": float(np.mean(scored.safety)),
        "mean_net": mean,
        "rows_needed": needed,
        "passes": None if needed is None else needed / len(scored.pk),
    }


def _proposals(
    conn: Connection,
    dataset: StoredDataset,
    stored: StoredScorer,
    selection: Selection,
    columns: ScoreColumns,
) -> Iterator[dict[str, Any]]:
    """A header, then one line per sample: those not counted, then the scored ones from the riskiest down."""
    yield {
        "curation_proposals": 1,
        "label": _label(stored),
        "reads": "proposals, not decisions; risk = danger - safety, higher = riskier",
        "dataset": dataset.name,
        "scorer": stored.fingerprint,
        "metric": stored.card.get("metric"),
        "bound": selection.bound,
    }
    after = None
    while True:
        found = page(conn, dataset.id, stored.id, MAX_PAGE, after)
        for item in found.items:
            if item.state != "scored":
                yield {
                    "id": item.content_hash,
                    "proposal": "not counted",
                    "reason": item.reason or item.state,
                }
        after = found.next_cursor
        if after is None or found.items[-1].state == "scored":
            break
    kept = np.zeros(len(columns.pk), dtype=bool)
    kept[selection.order[: selection.kept]] = True
    numbers = zip(
        kept.tolist(), columns.risk.tolist(), columns.danger.tolist(), columns.safety.tolist(), strict=True
    )
    for content_hash, (stays, *terms) in zip(ranked_ids(conn, dataset.id, stored.id), numbers, strict=True):
        proposal = "keep" if stays else "drop"
        yield {
            "id": content_hash,
            "proposal": proposal,
            **dict(zip(("risk", "danger", "safety"), terms, strict=True)),
        }


def _write(out: Path, lines: Iterator[dict[str, Any]]) -> None:
    """The file is there whole or not at all."""
    part = out.with_name(f"{out.name}.part")
    try:
        with part.open("wb") as file:
            for line in lines:
                file.write(orjson.dumps(line) + b"\n")
        part.replace(out)
    except OSError as error:
        raise InputError(
            f"{out} cannot be written: {error.strerror}", "Choose another place with --out."
        ) from None
    finally:
        part.unlink(missing_ok=True)


def _found(
    dataset: StoredDataset,
    stored: StoredScorer,
    total: Counts,
    selection: Selection,
    columns: ScoreColumns,
    mixed: dict[str, Any] | None,
) -> dict[str, Any]:
    """All that the command has to say, JSON-able."""
    dropped = np.sort(selection.order[selection.kept :])
    answers = columns.n_answer_tokens
    return {
        "label": _label(stored),
        "note": None if _label(stored) == LABEL else COSINE_NOTE,
        "reads": "net = danger - safety, higher = riskier; sums over rows, in the scorer's units",
        "dataset": dataset.name,
        "scorer": stored.fingerprint,
        "metric": stored.card.get("metric"),
        "bound": selection.bound,
        "kept": selection.kept,
        "dropped": len(dropped),
        "not_counted": {
            "quarantined": total.quarantined,
            "unscored": total.unscored,
            "duplicates": total.duplicates,
        },
        "before": _as_json(selection.before),
        "after": _as_json(selection.after),
        "median_answer_tokens": {
            "all": _median(answers),
            "dropped": _median(answers[dropped]),
        },
        "mix": mixed,
    }


def _as_json(drift: Drift) -> dict[str, float]:
    return {
        "rows": drift.rows,
        "danger": drift.danger,
        "safety": drift.safety,
        "net": drift.net,
        "mean_net": drift.mean,
    }


def _median(values: Any) -> float | None:
    return float(np.median(values)) if len(values) else None


def _say(found: dict[str, Any]) -> None:
    name, bound = plain(found["dataset"]), f"{found['bound']:,.4g}"
    console.print(
        f"[i]{name}: drift budget {bound}, a {found['label']} - higher = riskier[/]", soft_wrap=True
    )
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for name in ("rows", "danger", "safety", "net drift", "per row"):
        table.add_column(name, justify="right", no_wrap=True)
    for name, key in (("all rows", "before"), ("kept", "after")):
        drift = found[key]
        numbers = (f"{drift[part]:+,.4g}" for part in ("danger", "safety", "net", "mean_net"))
        table.add_row(name, f"{drift['rows']:,}", *numbers)
    console.print(table)
    console.print(_dropped(found), soft_wrap=True)
    if found["note"]:
        errors.print(f"[yellow]{found['note']}[/]")
    if missing := _not_counted(found["not_counted"]):
        console.print(f"[magenta]not counted: {missing}[/]", soft_wrap=True)
    if found["mix"]:
        console.print(_mixed(found["mix"], found["before"]["rows"]), soft_wrap=True)
    for key in ("proposals", "plot"):
        if key in found:
            console.print(f"{key}: [b]{found[key]}[/b]", soft_wrap=True)


def _dropped(found: dict[str, Any]) -> str:
    if not found["dropped"]:
        return "all rows stay under the bound: nothing to drop"
    if not found["kept"]:
        return (
            "no row can be kept: every one is predicted to move the model toward danger, as can be with harmless "
            "rows too. Ask for a share of the whole, --drift 50%, or for rows to mix in, --mix"
        )
    lengths = found["median_answer_tokens"]
    return (
        f"proposed: drop the riskiest {found['dropped']:,}, keep {found['kept']:,} "
        f"[dim](median answer: {lengths['dropped']:.0f} tokens dropped, {lengths['all']:.0f} in all)[/]"
    )


def _not_counted(missing: dict[str, int]) -> str:
    words = {
        "quarantined": "quarantined",
        "unscored": "not yet scored",
        "duplicates": "lines that repeat another (each sample counts once)",
    }
    return ", ".join(f"{missing[key]:,} {text}" for key, text in words.items() if missing[key])


def _mixed(mix: dict[str, Any], rows: int) -> str:
    name = plain(mix["dataset"])
    if mix["rows_needed"] is None:
        return f"mixing in {name} does not help: its mean net drift is {mix['mean_net']:+,.4g}"
    passes = f"{mix['passes']:.1f} times each of its {mix['rows']:,}" if mix["passes"] else "none needed"
    return (
        f"or keep all {rows:,} and add {mix['rows_needed']:,} rows of {name}, of mean net drift "
        f"{mix['mean_net']:+,.4g} [dim]({passes})[/]"
    )
