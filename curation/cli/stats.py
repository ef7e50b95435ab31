"""`curation stats` and `curation budget`: what the decisions so far say of reviewers, the order, and the rest."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from curation.cli.console import console, plain, print_json
from curation.cli.decide import DecidedBy
from curation.cli.options import Dataset, Json, ScorerId
from curation.ledger.engine import open_ledger, reading
from curation.settings import get_settings

if TYPE_CHECKING:
    from curation.review.agreement import Agreement
    from curation.review.budget import Budget
    from curation.review.outcomes import Interval, Outcomes
    from curation.review.precision import Precision


def stats(
    dataset: Dataset = None,
    scorer: ScorerId = None,
    decided_by: DecidedBy = "any-reject",
    json: Json = False,
) -> None:
    """Show how much was decided, how far reviewers agree, and how many of the riskiest were rejected.

    Every rate comes with its 95 % interval and the number of samples it is from. Example: [b]curation stats[/b]
    """
    from curation.review.agreement import agreement
    from curation.review.precision import precision_at

    name, found = _outcomes(dataset, scorer, decided_by)
    agreed, precision = agreement(found), precision_at(found)
    rejected = int(found.rejected.sum())
    approved = len(found.rejected) - rejected
    undecided = found.n - approved - rejected
    if json:
        print_json({
            "dataset": name, "decided_by": decided_by, "decisions": found.decisions,
            "reviewers": dict(found.reviewers), "scored": found.n, "approved": approved,
            "rejected": rejected, "undecided": undecided, "conflicts": found.conflicts,
            "agreement": asdict(agreed), "precision": [asdict(one) for one in precision],
        })  # fmt: skip
        return
    console.print(
        f"{plain(name)}: {approved:,} approved, {rejected:,} rejected, {undecided:,} undecided of "
        f"{found.n:,} scored samples; {found.conflicts:,} conflicts ({decided_by})",
        markup=False,
    )
    _say_agreement(agreed)
    console.print(_precision_table(precision))


def budget(
    dataset: Dataset = None,
    scorer: ScorerId = None,
    decided_by: DecidedBy = "any-reject",
    catch: Annotated[
        list[float] | None, typer.Option(help="Share of all rejections to catch, 0 to 1. May be repeated.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Also draw it, to an .svg or .png file.")] = None,
    json: Json = False,
) -> None:
    """Estimate how many rows to read, riskiest first, to catch a share of all that would be rejected.

    Example: [b]curation budget --catch 0.9 --plot budget.svg[/b]
    """
    from curation.review.budget import SHARES
    from curation.review.budget import budget as estimate

    name, found = _outcomes(dataset, scorer, decided_by)
    made = estimate(found, catch or SHARES)
    if plot:
        from curation.review.plot import write_budget

        write_budget(made, plot)
    if json:
        print_json({"dataset": name, "decided_by": decided_by, **_budget_json(made)})
        return
    _say_budget(made, name)
    if plot:
        console.print(f"figure: {plot.resolve()}", markup=False, soft_wrap=True)


def _outcomes(dataset: str | None, scorer: str | None, rule: Any) -> tuple[str, Outcomes]:
    from curation.cli.scoring import choose
    from curation.review.outcomes import outcomes

    settings = get_settings()
    with reading(open_ledger(settings.url, settings.home)) as conn:
        chosen, stored = choose(conn, dataset, scorer)
        return chosen.name, outcomes(conn, chosen.id, stored.id, rule)


def _say_agreement(found: Agreement) -> None:
    if not found.n:
        console.print("agreement: no sample was decided on by two reviewers yet")
        return
    alpha = "everyone said the same" if found.alpha is None else f"Krippendorff's alpha {_shown(found.alpha)}"
    console.print(f"agreement: {alpha}, on {found.n:,} samples that two or more decided on", markup=False)
    table = Table(box=None, pad_edge=False)
    for name in ("reviewers", "both decided", "alike", "Cohen's kappa"):
        table.add_column(name, justify="left" if name == "reviewers" else "right")
    for pair in found.pairs[:20]:
        kappa = "-" if pair.kappa is None else _shown(pair.kappa)
        names = f"{plain(pair.first, 24)}, {plain(pair.second, 24)}"
        table.add_row(Text(names), f"{pair.n:,}", f"{pair.same:,}", kappa)
    console.print(table)
    if len(found.pairs) > 20:
        console.print(f"and {len(found.pairs) - 20:,} more pairs; all of them with --json")


def _precision_table(found: list[Precision]) -> Table:
    table = Table(title="rejected among the riskiest", title_justify="left", box=None, pad_edge=False)
    for name in ("riskiest", "decided", "rejected", "rate (95 %)"):
        table.add_column(name, justify="right")
    for one in found:
        rate = "-" if one.rate is None else _shown(one.rate, percent=True)
        table.add_row(f"{one.k:,}", f"{one.decided:,}", f"{one.rejected:,}", rate)
    table.caption = "of all k only as far as those decided on were picked blindly"
    table.caption_justify = "left"
    return table


def _say_budget(made: Budget, name: str) -> None:
    total = made.total
    console.print(
        f"{plain(name)}: {made.decided:,} of {made.n:,} samples decided, {made.rejected:,} rejected; in all "
        f"{total.value:,.0f} rejections expected ({total.low:,.0f} to {total.high:,.0f})",
        markup=False,
    )
    table = Table(title="rows to read from the top, with 90 % intervals", title_justify="left", box=None,
                  pad_edge=False)  # fmt: skip
    for column in ("to catch", "rows", "from", "to", "in random order", ""):
        table.add_column(column, justify="right" if column else "left")
    for one in made.needed:
        rows = one.rows
        note = "extrapolated" if one.extrapolated else ""
        table.add_row(f"{one.share:.0%}", f"{rows.value:,.0f}", f"{rows.low:,.0f}", f"{rows.high:,.0f}",
                      f"{one.share * made.n:,.0f}", Text(note, "yellow"))  # fmt: skip
    console.print(table)
    if made.deepest < made.n:
        console.print(
            f"Nothing was decided below row {made.deepest:,} of {made.n:,}. The bounds cover everything from no "
            "rejection down there to as many as in the last stretch that was read. To narrow them, decide on some "
            "rows drawn from all ranks.",
            markup=False,
        )


def _budget_json(made: Budget) -> dict[str, Any]:
    curve = [
        {"rows": int(depth), "caught": value, "low": low, "high": high}
        for depth, (value, low, high) in zip(made.depth, made.caught.T.tolist(), strict=True)
    ]
    facts = ("n", "decided", "rejected", "deepest")
    return {
        **{name: getattr(made, name) for name in facts},
        "rejections_expected": asdict(made.total),
        "needed": [
            {"share": one.share, **asdict(one.rows), "extrapolated": one.extrapolated} for one in made.needed
        ],
        "curve": curve,
    }


def _shown(found: Interval, percent: bool = False) -> str:
    if percent:
        return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
