"""What happened to a dataset since some moment, by the database's clock."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, select

from curation.ledger import clock
from curation.ledger.ranks import Ranks
from curation.ledger.risky import top_scores
from curation.ledger.scores import still_held
from curation.ledger.tables import datasets, decisions, exports, quarantine, samples, scores
from curation.samples.sample import Sample
from curation.triage import TierPolicy, percentile


@dataclass(frozen=True, slots=True)
class Happened:
    """Samples that came, scores that the scorer gave, samples it put in quarantine that are still there; decisions as
    they came in, by verdict, and how many reviewers they are from."""

    ingested: int
    scored: int
    quarantined: int
    approved: int
    rejected: int
    withdrawn: int
    reviewers: int


class NewRisky(NamedTuple):
    """A sample of the riskiest tier that was scored in the period. Percentile: 0-100, 100 = riskiest."""

    content_hash: str
    risk: float
    percentile: float
    sample: Sample


class PastExport(NamedTuple):
    """An export: its number, dataset, format, rows, and when and by whom it was made."""

    number: int
    dataset: str
    format: str
    rows: int
    by: str
    at: datetime


def period(conn: Connection, length: timedelta) -> tuple[datetime, datetime]:
    """The moments that a period which ends now begins and ends at."""
    now: datetime = conn.execute(select(clock.in_seconds(0.0))).scalar_one()
    return now - length, now


def happened(conn: Connection, dataset_id: int, scorer_id: int | None, since: datetime) -> Happened:
    """What came in, was scored and was decided since then."""
    since = since.astimezone(UTC)  # SQLite keeps no time zone
    here = samples.c.dataset_id == dataset_id, samples.c.first_seen >= since
    ingested = conn.execute(select(sa.func.count()).select_from(samples).where(*here)).scalar_one()
    scored = held = 0
    if scorer_id is not None:
        of_scorer = Ranks(conn, dataset_id, scorer_id).scored
        new = select(sa.func.count()).select_from(scores).where(of_scorer, scores.c.scored_at >= since)
        scored = conn.execute(new).scalar_one()
        waiting = select(sa.func.count()).select_from(quarantine)
        waiting = waiting.where(still_held(dataset_id, scorer_id), quarantine.c.last_at >= since)
        held = conn.execute(waiting).scalar_one()
    recent = decisions.c.dataset_id == dataset_id, decisions.c.recorded_at >= since
    verdicts = select(decisions.c.verdict, sa.func.count()).where(*recent).group_by(decisions.c.verdict)
    said = {row[0]: row[1] for row in conn.execute(verdicts)}
    people = conn.execute(select(sa.func.count(decisions.c.reviewer.distinct())).where(*recent)).scalar_one()
    verdict = said.get("approve", 0), said.get("reject", 0), said.get("withdraw", 0)
    return Happened(ingested, scored, held, *verdict, people)


def new_critical(
    conn: Connection, dataset_id: int, scorer_id: int, since: datetime, policy: TierPolicy, limit: int
) -> tuple[int, list[NewRisky]]:
    """How many samples that are critical now were scored since then, and the riskiest of them."""
    ranks = Ranks(conn, dataset_id, scorer_id)
    top = top_scores(ranks, policy, "critical")
    if top is None:
        return 0, []
    recent = top.c.scored_at >= since.astimezone(UTC)
    n_new = conn.execute(select(sa.func.count()).select_from(top).where(recent)).scalar_one()
    n = conn.execute(select(ranks.total())).scalar_one()
    query = (
        select(samples.c.content_hash, top.c.risk, top.c.above, samples.c.body)
        .join_from(top, samples, samples.c.id == top.c.sample_id)
        .where(recent)
        .order_by(top.c.above, samples.c.id)
        .limit(limit)
    )
    rows = conn.execute(query)
    return n_new, [
        NewRisky(row.content_hash, row.risk, percentile(row.above, n), Sample.from_json(row.body))
        for row in rows
    ]


def exports_since(conn: Connection, since: datetime, limit: int) -> tuple[int, list[PastExport]]:
    """How many exports there were, and the latest of them."""
    recent = exports.c.created_at >= since.astimezone(UTC)
    n = conn.execute(select(sa.func.count()).select_from(exports).where(recent)).scalar_one()
    query = (
        select(
            exports.c.id, datasets.c.name, exports.c.format, exports.c.counts, exports.c.exported_by,
            exports.c.created_at,
        )
        .join_from(exports, datasets)
        .where(recent)
        .order_by(exports.c.id.desc())
        .limit(limit)
    )  # fmt: skip
    return n, [
        PastExport(number, dataset, form, sum(json.loads(counts)["out"].values()), by, at)
        for number, dataset, form, counts, by, at in conn.execute(query)
    ]
