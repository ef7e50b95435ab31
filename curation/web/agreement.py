"""What decisions say of reviewers, of the order of risk, and of what is left to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, FastAPI, Response
from markupsafe import Markup
from sqlalchemy import Engine

from curation.ledger.engine import reading
from curation.ledger.fleet import list_scorers
from curation.review.agreement import Agreement, agreement
from curation.review.budget import Budget, budget
from curation.review.fold import RULE_WORDS, RULES, Rule
from curation.review.outcomes import Interval, Outcomes, outcomes
from curation.review.precision import Precision, precision_at
from curation.web.choice import DatasetName, ScorerPrefix, choose
from curation.web.pages import PageRoute, Reading
from curation.web.remembered import Remembered

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything the page shows of one dataset. `budget` and its `plot` are None before the first decision on a
    scored sample."""

    outcomes: Outcomes
    agreement: Agreement
    precision: Sequence[Precision]
    budget: Budget | None
    plot: Markup | None


Question = tuple[int, int, Rule]
"""Dataset, scorer, and how reviewers add up."""


def install(app: FastAPI, engine: Engine) -> None:
    app.state.figures = Remembered(partial(_figures, engine))


@router.get("/decisions/agreement")
def show(
    page: Reading,
    dataset: DatasetName = None,
    scorer: ScorerPrefix = "",
    decided_by: Rule = "any-reject",
) -> Response:
    """Agreement of reviewers, precision at k, and the review budget."""
    with reading(page.service.engine) as conn:
        chosen = choose(conn, dataset or None, scorer or None)
        scorers = list_scorers(conn)
    figures: Remembered[Question, Figures] = page.request.app.state.figures
    asked = (chosen.dataset.id, chosen.scorer_id, decided_by) if chosen and chosen.fingerprint else None
    found = figures(asked) if asked else None
    return page.render(
        "agreement.html.j2",
        found=found.answer if found else None,
        at=found.at if found else None,
        dataset=chosen.dataset.name if chosen else None,
        datasets=[known.name for known in chosen.known] if chosen else [],
        scorer=chosen.fingerprint if chosen else None,
        scorers=[known.fingerprint for known in reversed(scorers)],
        decided_by=decided_by,
        rules=RULES,
        rule_words=RULE_WORDS,
        number=_number,
        percent=_percent,
    )


def _figures(engine: Engine, question: Question) -> Figures:
    from curation.web.plot import budget_plot

    dataset_id, scorer_id, rule = question
    with reading(engine) as conn:
        found = outcomes(conn, dataset_id, scorer_id, rule)
    made = budget(found) if len(found.above) else None
    return Figures(found, agreement(found), precision_at(found), made, budget_plot(made) if made else None)


def _number(found: Interval) -> str:
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})".replace("-", "\N{MINUS SIGN}")


def _percent(found: Interval) -> str:
    return f"{found.value:.0%} ({found.low:.0%} to {found.high:.0%})"
