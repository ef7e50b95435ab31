"""The review queue of a dataset: quarantined, not yet scored, then riskiest first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Response
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection

from curation.errors import CurationError, InputError
from curation.ledger import queue as ledger_queue
from curation.ledger.decisions import Decision, decisions_on
from curation.ledger.engine import reading
from curation.ledger.items import places_of
from curation.ledger.narrowing import Narrowing, Reviewed
from curation.ledger.overview import risk_range
from curation.ledger.queue import STATES, QueueItem, State
from curation.ledger.samples import find_sample
from curation.ledger.targets import Target, find_target, list_targets
from curation.platforms.links import item_address, queue_address
from curation.report.format import signed_by
from curation.review.fold import disagree, last_words, standing
from curation.triage import TIERS, Tier
from curation.web.choice import DatasetName, ScorerPrefix, choose
from curation.web.pages import PageRoute, Reading, go_to

router = APIRouter(route_class=PageRoute, include_in_schema=False)

PAGE = 50

Shown = Literal["", "quarantined", "unscored", "critical", "high", "medium", "low"]
"""One state, or one tier of the scored; "" is everything."""

REVIEWED_WORDS: dict[Reviewed, str] = {
    "undecided": "nobody decided",
    "decided": "somebody decided",
    "approved": "approved, no reject",
    "rejected": "rejected by somebody",
    "conflict": "reviewers disagree",
}


@dataclass(frozen=True, slots=True)
class Filters:
    """What the queue is narrowed to, as its address says it."""

    show: Shown = ""
    reviewed: Literal["", "undecided", "decided", "approved", "rejected", "conflict"] = ""
    target: str = ""
    q: str = ""
    scorer: str = ""

    @property
    def query(self) -> Mapping[str, Any]:
        return asdict(self)

    @property
    def any(self) -> bool:
        return bool(self.show or self.reviewed or self.target or self.q)

    @classmethod
    def of_form(cls, fields: Mapping[str, str]) -> Filters:
        """As the hidden fields of a form carry them. Raises InputError if they are none."""
        try:
            return TypeAdapter(cls).validate_python({name: fields.get(name, "") for name in cls.__slots__})
        except ValidationError:
            raise InputError("the form's filters are none of the queue's", "Load the page again.") from None

    def asked(self, conn: Connection) -> Mapping[str, Any]:
        """The same for `ledger.queue.page`. Raises LedgerError if there is no such target."""
        tiers: list[Tier] | None = [tier for tier in TIERS if tier == self.show] or None
        states: list[State] = [state for state in STATES if state == self.show]
        narrowing = Narrowing(
            reviewed=self.reviewed or None,
            target_id=find_target(conn, self.target).id if self.target else None,
            text=self.q.strip() or None,
        )
        return {"tiers": tiers, "state": states[0] if states else None, "narrowing": narrowing}


def _filters(
    show: Shown = "",
    reviewed: Literal["", "undecided", "decided", "approved", "rejected", "conflict"] = "",
    target: Annotated[str, Query(max_length=500)] = "",
    q: Annotated[str, Query(max_length=500)] = "",
    scorer: ScorerPrefix = "",
) -> Filters:
    return Filters(show, reviewed, target, q, scorer)


Filtered = Annotated[Filters, Depends(_filters)]


@dataclass(frozen=True, slots=True)
class Row:
    """A sample of the page, how it stands with reviewers, and where it is shown."""

    item: QueueItem
    stands: str | None
    places: Sequence[tuple[Target, str | None]]


@router.get("/queue")
def queue(
    page: Reading, filters: Filtered, dataset: DatasetName = None, after: str | None = None
) -> Response:
    policy = page.service.settings.tiers
    with reading(page.service.engine) as conn:
        chosen = choose(conn, dataset or None, filters.scorer or None)
        if chosen is None:
            return page.render("queue_empty.html.j2")
        if id_ := _id_of(conn, filters.q, chosen.dataset.name):
            return go_to(f"/samples/{id_}", dataset=chosen.dataset.name, scorer=filters.scorer)
        targets = [t for t in list_targets(conn) if t.dataset_id == chosen.dataset.id]
        asked = filters.asked(conn)
        found = ledger_queue.page(
            conn, chosen.dataset.id, chosen.scorer_id, PAGE, after or None, policy=policy, **asked
        )
        spread = risk_range(conn, chosen.dataset.id, chosen.scorer_id)
        rows = _rows(conn, chosen.dataset.id, found.items, targets)
    return page.render(
        "queue.html.j2",
        rows=rows,
        next=found.next_cursor,
        looked_through=found.looked_through,
        after=after,
        dataset=chosen.dataset.name,
        datasets=[known.name for known in chosen.known],
        fingerprint=chosen.fingerprint,
        filters=filters,
        targets=[(target, queue_address(target)) for target in targets],
        shown=[*STATES[:2], *TIERS],
        reviewed_words=REVIEWED_WORDS,
        signed=signed_by(spread[1] - spread[0] if spread else 0.0),
    )


def _id_of(conn: Connection, text: str, dataset: str) -> str | None:
    """The one sample whose id begins with what was looked for, if it is one."""
    try:
        return find_sample(conn, text.strip(), dataset).sample.id
    except CurationError:
        return None


def _rows(
    conn: Connection, dataset_id: int, found: Sequence[QueueItem], targets: Sequence[Target]
) -> list[Row]:
    pks = [item.pk for item in found]
    decided = decisions_on(conn, dataset_id, pks)
    shown = places_of(conn, dataset_id, pks) if targets else {}
    by_id = {target.id: target for target in targets}
    rows: list[Row] = []
    for item in found:
        places = [
            (by_id[target_id], item_address(by_id[target_id], remote_id))
            for target_id, remote_id in shown.get(item.pk, ())
        ]
        rows.append(Row(item, standing_of(decided.get(item.pk, ())), places))
    return rows


def standing_of(decisions: Sequence[Decision]) -> str | None:
    """How a sample stands with its reviewers, as a chip says it; None: nobody decided."""
    words = last_words(decisions)
    if not words:
        return None
    return "conflict" if disagree(words) else standing(words, "any-reject")
