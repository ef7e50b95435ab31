"""Deciding on a sample: the one thing that pages change. It is recorded under the name of whoever is logged in."""

from __future__ import annotations

from fastapi import APIRouter, Response

from curation.errors import InputError
from curation.ledger.decisions import VERDICTS, NewDecision, decisions_on, record_decisions
from curation.ledger.engine import reading
from curation.ledger.queue import score_of
from curation.ledger.samples import find_sample
from curation.ledger.scores import newest_scorer
from curation.web.pages import Deciding, PageRoute, Submitted, go_to
from curation.web.queue import Filters
from curation.web.sample import SampleId, dataset_of, my_word, next_id

router = APIRouter(route_class=PageRoute, include_in_schema=False)

SOURCE = "pages"

MAX_REASON, MAX_NOTE = 500, 10_000


@router.post("/samples/{id}/decision")
def decide(form: Deciding, id: SampleId) -> Response:
    """Keep a decision, and go on to the sample after it. To say the same again changes nothing."""
    fields = form.fields
    verdict = fields.get("verdict", "")
    if verdict not in VERDICTS:
        raise InputError(f"{verdict!r:.40} is no verdict", f"Use one of: {', '.join(VERDICTS)}.")
    reason, note = fields.get("reason", "").strip(), fields.get("note", "").strip()
    if len(reason) > MAX_REASON or len(note) > MAX_NOTE:
        raise InputError(
            "that is too long to keep",
            f"A reason has at most {MAX_REASON:,} characters, a note {MAX_NOTE:,}. Nothing was recorded.",
        )
    filters = Filters.of_form(fields)
    engine = form.page.service.engine
    with reading(engine) as conn:
        stored = find_sample(conn, id, fields.get("dataset") or None)
        home = dataset_of(conn, stored)
        mine = my_word(decisions_on(conn, home.id, [stored.pk]).get(stored.pk, []), form.page)
    said = (mine.verdict, mine.reason or "", mine.note or "") if mine else ("withdraw", "", "")
    if said != (verdict, reason, note):
        made = NewDecision(
            stored.sample.id,
            verdict,
            form.page.visitor.name,
            SOURCE,
            reason=reason or None,
            note=note or None,
        )
        record_decisions(engine, home.id, [made])
    return _go_on(form, filters, stored.sample.id, verdict)


def _go_on(form: Submitted, filters: Filters, id: str, verdict: str) -> Response:
    dataset = form.fields.get("dataset") or None
    if verdict == "withdraw":
        return go_to(f"/samples/{id}", dataset=dataset, **filters.query)
    with reading(form.page.service.engine) as conn:
        stored = find_sample(conn, id, dataset)
        scorer_id, _ = newest_scorer(conn, filters.scorer or None)
        item = score_of(conn, scorer_id, stored.pk, form.page.service.settings.tiers)
        following = next_id(conn, form.page, stored.dataset_id, scorer_id, item, filters)
    if following is None:
        return go_to("/queue", dataset=dataset, **filters.query)
    return go_to(f"/samples/{following}", dataset=dataset, decided=id, **filters.query)
