"""GET: datasets, the review queue, one sample, and how far scoring has come."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query

from curation.ledger.engine import reading
from curation.ledger.fleet import left_by_scorer, rates
from curation.ledger.queue import QueueItem, count_states, page, score_of
from curation.ledger.ranks import Ranks
from curation.ledger.samples import MIN_PREFIX, find_dataset, find_sample, list_datasets, list_occurrences
from curation.ledger.scores import newest_scorer
from curation.service.access import allows
from curation.service.context import Here
from curation.service.errors import answers
from curation.service.ingest import DatasetName
from curation.service.schemas import (
    BacklogStatus,
    DatasetCounts,
    Datasets,
    Line,
    Queue,
    Ranked,
    SampleDetail,
    ScorerStatus,
    Status,
    TargetStatus,
    Turn,
    WorkerStatus,
)
from curation.triage import Tier

router = APIRouter(dependencies=[Depends(allows("read"))], tags=["review"])

_SHOWN = 100
"""Occurrences that are shown of a sample."""

ScorerPrefix = Annotated[
    str | None,
    Query(
        description=f"{MIN_PREFIX} or more digits that a scorer's fingerprint begins with. Default: the newest scorer."
    ),
]


@router.get("/v1/datasets", responses=answers(401, 403, 404, 422, 429, 503), summary="List datasets")
def datasets(service: Here, scorer: ScorerPrefix = None) -> Datasets:
    """All datasets by name, and how much of each is scored."""
    with reading(service.engine) as conn:
        scorer_id, fingerprint = newest_scorer(conn, scorer)
        found: list[DatasetCounts] = []
        for dataset in list_datasets(conn):
            total, scored, held = count_states(Ranks(conn, dataset.id, scorer_id))
            found.append(
                DatasetCounts(
                    name=dataset.name,
                    created_at=dataset.created_at,
                    samples=total,
                    scored=scored,
                    quarantined=held,
                    unscored=total - scored - held,
                )
            )
    return Datasets(scorer=fingerprint, datasets=found)


@router.get(
    "/v1/datasets/{name}/queue",
    responses=answers(401, 403, 404, 422, 429, 503),
    summary="Page through the review queue",
)
def queue(
    service: Here,
    name: DatasetName,
    limit: Annotated[int, Query(ge=1, le=100, description="Samples on a page.")] = 20,
    after: Annotated[str | None, Query(description="`next` of the page before.")] = None,
    tier: Annotated[
        list[Tier] | None, Query(description="Only scored samples of this tier; may be repeated.")
    ] = None,
    scorer: ScorerPrefix = None,
) -> Queue:
    """Quarantined, then not yet scored, then the riskiest first: **higher risk = riskier**.

    A deep page costs what the first does, and samples that arrive in between move nothing. Percentiles and
    tiers are exact at the moment of the request.
    """
    with reading(service.engine) as conn:
        dataset = find_dataset(conn, name)
        scorer_id, fingerprint = newest_scorer(conn, scorer)
        found = page(conn, dataset.id, scorer_id, limit, after, tier, service.settings.tiers)
    items = [Ranked(**_fields(item)) for item in found.items]
    return Queue(dataset=dataset.name, scorer=fingerprint, items=items, next=found.next_cursor)


@router.get("/v1/samples/{id}", responses=answers(401, 403, 404, 422, 429, 503), summary="Look at one sample")
def sample(
    service: Here,
    id_prefix: Annotated[
        str, Path(alias="id", description=f"{MIN_PREFIX} or more digits that its id begins with.")
    ],
    dataset: Annotated[str | None, Query(description="Only in this dataset.")] = None,
    scorer: ScorerPrefix = None,
) -> SampleDetail:
    """A sample, its score and the lines it was read from. **Higher risk = riskier.**"""
    with reading(service.engine) as conn:
        stored = find_sample(conn, id_prefix, dataset)
        scorer_id, fingerprint = newest_scorer(conn, scorer)
        item = score_of(conn, scorer_id, stored.pk, service.settings.tiers)
        lines = [
            Line(file=file, line=line, metadata=metadata)
            for file, line, metadata in islice(list_occurrences(conn, stored.pk), _SHOWN)
        ]
        names = {known.id: known.name for known in list_datasets(conn)}
    return SampleDetail(
        **_fields(item), dataset=names[stored.dataset_id], scorer=fingerprint, occurrences=lines
    )


@router.get("/v1/status", responses=answers(401, 403, 429, 503), summary="See how far scoring has come")
def status(service: Here) -> Status:
    """What is left for the scorers in service, who is at it, and how long it will take at the present rate."""
    fleet = service.fleet()
    speed = rates(fleet.workers)
    return Status(
        scorers=[
            ScorerStatus(
                scorer=scorer,
                unscored=left,
                samples_per_second=speed.get(scorer, 0.0),
                eta_seconds=_eta(left, speed.get(scorer, 0.0)),
            )
            for scorer, left in left_by_scorer(fleet.backlogs).items()
        ],
        backlogs=[
            BacklogStatus(
                scorer=b.fingerprint,
                dataset=b.dataset,
                in_service=b.in_service,
                unscored=b.unscored,
                quarantined=b.quarantined,
                oldest_age_seconds=b.oldest_age,
                leases=b.leases,
                overdue=b.overdue,
            )
            for b in fleet.backlogs
        ],
        workers=[
            WorkerStatus(
                name=w.name,
                device=w.device,
                scorer=w.fingerprint,
                samples_per_second=w.samples_per_second,
                trouble=w.trouble,
                started_at=w.started_at,
                silent_seconds=w.silent,
                alive=w.alive,
            )
            for w in fleet.workers
        ],
        targets=[
            TargetStatus(
                name=t.name,
                platform=t.platform,
                dataset=t.dataset,
                pull_age_seconds=t.since_pull,
                push_age_seconds=t.since_push,
                trouble=t.trouble,
            )
            for t in fleet.targets
        ],
    )


def _eta(left: int, rate: float) -> float | None:
    if left == 0:
        return 0.0
    return left / rate if rate > 0 else None


def _fields(item: QueueItem) -> dict[str, Any]:
    names = ("state", "risk", "percentile", "tier", "danger", "safety", "copies", "reason")
    turns = [Turn(role=message.role, content=message.content) for message in item.sample.messages]
    fields = {name: getattr(item, name) for name in names}
    return {"id": item.content_hash, "train": item.sample.train, "messages": turns, **fields}
