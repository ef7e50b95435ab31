"""One sample: its text, where its score comes from, how it compares, what became of it, and the decision on it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from sqlalchemy import Connection

from curation.ledger import queue as ledger_queue
from curation.ledger.decisions import Decision, decisions_on
from curation.ledger.engine import reading
from curation.ledger.explanations import reasons_of
from curation.ledger.history import history, words
from curation.ledger.intervals import intervals_of
from curation.ledger.items import places_of
from curation.ledger.overview import risk_range
from curation.ledger.queue import QueueItem, cursor_after, score_of
from curation.ledger.samples import Dataset, StoredSample, find_sample, list_datasets, list_occurrences
from curation.ledger.scores import newest_scorer
from curation.ledger.targets import list_targets
from curation.platforms.links import item_address
from curation.report.data import TokenHeat, Turn
from curation.report.format import signed_by
from curation.report.heat import heat_map
from curation.review.fold import last_words
from curation.samples.sample import Sample
from curation.web.choice import DatasetName
from curation.web.compare import compare, similar
from curation.web.pages import Page, PageRoute, Reading
from curation.web.queue import Filtered, Filters, standing_of
from curation.web.reasons import layers, strongest

router = APIRouter(route_class=PageRoute, include_in_schema=False)

CHARS, ALL_CHARS = 30_000, 1_000_000
"""Characters of a conversation that are shown, and that are shown on demand: no sample has more."""

_LINES = 20

SampleId = Annotated[str, Path(max_length=64)]


@router.get("/samples/{id}")
def sample(
    page: Reading,
    id: SampleId,
    filters: Filtered,
    dataset: DatasetName = None,
    whole: bool = False,
    decided: Annotated[str | None, Query(max_length=64)] = None,
) -> Response:
    """`decided` is the sample that was decided on before this one, to say so and to let it be taken back."""
    policy = page.service.settings.tiers
    with reading(page.service.engine) as conn:
        stored = find_sample(conn, id, dataset or None)
        home = dataset_of(conn, stored)
        scorer_id, fingerprint = newest_scorer(conn, filters.scorer or None)
        item = score_of(conn, scorer_id, stored.pk, policy)
        made = decisions_on(conn, home.id, [stored.pk]).get(stored.pk, [])
        spread = risk_range(conn, home.id, scorer_id)
        found = reasons_of(conn, scorer_id, stored.pk)
        targets = {target.id: target for target in list_targets(conn)}
        values: dict[str, Any] = {
            "next_id": next_id(conn, page, home.id, scorer_id, item, filters),
            "interval": intervals_of(conn, home.id, scorer_id, [stored.pk]).get(stored.pk),
            "comparisons": compare(conn, home.id, scorer_id, item) if item.state == "scored" else None,
            "history": [(event, words(event)) for event in history(conn, stored.pk)],
            "lines": list_occurrences(conn, stored.pk)[: _LINES + 1],
            "places": [
                (targets[target_id], remote_id, item_address(targets[target_id], remote_id))
                for target_id, remote_id in places_of(conn, home.id, [stored.pk]).get(stored.pk, ())
            ],
            "before": _decided_before(conn, page, home, decided),
        }
    heat = [TokenHeat(*token) for token in zip(found[0].tokens, found[0].risks, strict=True)] if found else []
    return page.render(
        "sample.html.j2",
        item=item,
        turns=turns(stored.sample),
        chars=ALL_CHARS if whole else CHARS,
        whole=whole,
        dataset=home.name,
        filters=filters,
        fingerprint=fingerprint,
        signed=signed_by(spread[1] - spread[0] if spread else 0.0),
        stands=standing_of(made),
        mine=my_word(made, page),
        words_=[word for word in last_words(made) if word.reviewer != page.visitor.name],
        heat=heat_map(heat) if heat else None,
        modules=strongest(found[0].modules) if found else None,
        layers=layers(found[0].modules) if found else None,
        explained_at=found[1] if found else None,
        command=f"curation explain {item.content_hash[:12]} --dataset {shlex.quote(home.name)}",
        lines_shown=_LINES,
        **values,
    )


@router.get("/samples/{id}/similar")
def similar_samples(page: Reading, id: SampleId, filters: Filtered, dataset: DatasetName = None) -> Response:
    with reading(page.service.engine) as conn:
        stored = find_sample(conn, id, dataset or None)
        home = dataset_of(conn, stored)
        scorer_id, _ = newest_scorer(conn, filters.scorer or None)
        item = score_of(conn, scorer_id, stored.pk, page.service.settings.tiers)
        found = similar(conn, home.id, scorer_id, stored, page.service.settings.tiers)
        spread = risk_range(conn, home.id, scorer_id)
    return page.render(
        "similar.html.j2",
        item=item,
        found=found,
        dataset=home.name,
        filters=filters,
        signed=signed_by(spread[1] - spread[0] if spread else 0.0),
    )


def turns(sample: Sample) -> list[Turn]:
    trained = set(sample.trained_turns)
    return [Turn(m.role, m.content, i in trained) for i, m in enumerate(sample.messages)]


def dataset_of(conn: Connection, stored: StoredSample) -> Dataset:
    return next(known for known in list_datasets(conn) if known.id == stored.dataset_id)


def my_word(made: Sequence[Decision], page: Page) -> Decision | None:
    """The visitor's own last word on a sample, if it stands."""
    return next((word for word in last_words(made) if word.reviewer == page.visitor.name), None)


def next_id(
    conn: Connection, page: Page, dataset_id: int, scorer_id: int, item: QueueItem, filters: Filters
) -> str | None:
    """The sample after this one in the queue as it is narrowed, as far as one page looks."""
    asked = filters.asked(conn)
    policy = page.service.settings.tiers
    after = cursor_after(item)
    found = ledger_queue.page(conn, dataset_id, scorer_id, 1, after, policy=policy, **asked)
    return found.items[0].content_hash if found.items else None


def _decided_before(conn: Connection, page: Page, home: Dataset, decided: str | None) -> Decision | None:
    """The visitor's word on the sample before, read from the ledger: an address can claim nothing."""
    if not decided:
        return None
    stored = find_sample(conn, decided, home.name)
    return my_word(decisions_on(conn, home.id, [stored.pk]).get(stored.pk, []), page)
