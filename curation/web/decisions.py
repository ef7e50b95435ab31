"""What reviewers said: all decisions, the latest first, and where reviewers disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from sqlalchemy import Connection

from curation.ledger.decision_log import Logged, latest_decisions, reviewers
from curation.ledger.decisions import VERDICTS, Decision, decisions_on
from curation.ledger.engine import reading
from curation.ledger.samples import find_dataset, list_datasets
from curation.ledger.targets import list_targets
from curation.review.conflicts import conflicts as find_conflicts
from curation.review.fold import RULE_WORDS, RULES, Rule, last_words, standing
from curation.web.choice import DatasetName, choose
from curation.web.pages import PageRoute, Reading

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PAGE = 50


@dataclass(frozen=True, slots=True)
class Row:
    """A decision; `stands` is false once the same reviewer said something else of the sample, or took it back."""

    logged: Logged
    stands: bool


@router.get("/decisions")
def decisions(
    page: Reading,
    dataset: DatasetName = None,
    reviewer: Annotated[str, Query(max_length=1000)] = "",
    verdict: Literal["", "approve", "reject", "withdraw"] = "",
    after: str | None = None,
) -> Response:
    """All decisions by when they were made, the latest first."""
    with reading(page.service.engine) as conn:
        datasets = list_datasets(conn)
        dataset_id = find_dataset(conn, dataset).id if dataset else None
        found = latest_decisions(conn, PAGE, after, dataset_id, reviewer or None, verdict or None)
        rows = _rows(conn, found.items)
        people = reviewers(conn)
        targets = {f"{t.platform}:{t.name}": t for t in list_targets(conn)}
    return page.render(
        "decisions.html.j2",
        rows=rows,
        next=found.next_cursor,
        after=after,
        dataset=dataset or None,
        datasets=[known.name for known in datasets],
        query={"dataset": dataset or "", "reviewer": reviewer, "verdict": verdict},
        reviewers=people,
        verdicts=VERDICTS,
        targets=targets,
    )


@router.get("/decisions/conflicts")
def conflicts(
    page: Reading,
    dataset: DatasetName = None,
    decided_by: Rule = "any-reject",
    after: Annotated[int, Query(ge=0, lt=2**63)] = 0,
) -> Response:
    """Samples that some approve and some reject, and how each stands meanwhile."""
    with reading(page.service.engine) as conn:
        chosen = choose(conn, dataset or None)
        found = find_conflicts(conn, chosen.dataset.id, PAGE, after) if chosen else None
    return page.render(
        "conflicts.html.j2",
        conflicts=[(one, standing(one.words, decided_by)) for one in found.items] if found else [],
        next=found.next_pk if found else None,
        after=after or None,
        dataset=chosen.dataset.name if chosen else None,
        datasets=[known.name for known in chosen.known] if chosen else [],
        decided_by=decided_by,
        rules=RULES,
        rule_words=RULE_WORDS,
    )


def _rows(conn: Connection, items: Sequence[Logged]) -> list[Row]:
    standing_now: set[Decision] = set()
    for dataset_id in {item.dataset_id for item in items}:
        pks = [item.decision.sample_pk for item in items if item.dataset_id == dataset_id]
        for made in decisions_on(conn, dataset_id, pks).values():
            standing_now.update(last_words(made))
    return [Row(item, item.decision in standing_now) for item in items]
