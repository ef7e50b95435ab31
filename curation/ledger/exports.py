"""What the gate reads, line by line, and what it let out: policies, exports and the samples in them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, select

from curation.ledger import bulk, clock
from curation.ledger.engine import writing
from curation.ledger.ranks import Ranks
from curation.ledger.scores import untouched
from curation.ledger.tables import (
    exported,
    exports,
    manifests,
    occurrences,
    policies,
    quarantine,
    samples,
    scorers,
    scores,
)

BLOCK = 500
"""Lines that `lines` gives at a time; texts may be long."""

_NUMBERS = 10_000


class Line(NamedTuple):
    """A line and the sample it holds now. `risk` is None without a score by the scorer in question; then `stale` says
    whether another scorer has scored it, and `quarantined` why it could not be scored, if it could not."""

    file: str
    line: int
    metadata: str
    sample_pk: int
    content_hash: str
    body: str
    risk: float | None
    stale: bool
    quarantined: str | None


@dataclass(frozen=True, slots=True)
class Totals:
    """`lines` of a dataset, its samples on `off_lines` (on no line any more), and those on a line that the scorer has
    neither scored nor put in quarantine."""

    lines: int
    off_lines: int
    untouched: int


@dataclass(frozen=True, slots=True)
class NewExport:
    """An export to be recorded; `pks` are its samples in any order, repeats included."""

    dataset_id: int
    scorer_id: int
    policy_sha256: str
    policy: str
    format: str
    counts: Mapping[str, Any]
    manifest_sha256: str
    manifest: str
    exported_by: str
    snapshot_at: datetime
    pks: Sequence[int]


class Export(NamedTuple):
    """An export as recorded, with the fingerprint of its scorer."""

    id: int
    policy_sha256: str
    scorer: str
    format: str
    counts: dict[str, Any]
    manifest_sha256: str
    exported_by: str
    snapshot_at: datetime


class StoredPolicy(NamedTuple):
    sha256: str
    body: dict[str, Any]
    created_at: datetime


def moment(conn: Connection) -> datetime:
    """Now, by the database's clock."""
    return conn.execute(select(clock.in_seconds(0.0))).scalar_one()


def lines(conn: Connection, dataset_id: int, scorer_id: int) -> Iterator[Sequence[Line]]:
    """Every line of a dataset by file and line, in blocks, with what a scorer said of its sample."""
    score = sa.and_(scores.c.scorer_id == scorer_id, scores.c.sample_id == samples.c.id)
    held = sa.and_(quarantine.c.scorer_id == scorer_id, quarantine.c.sample_id == samples.c.id)
    # CASE, because nothing else keeps SQLite from looking for every line, scored or not
    stale = sa.case((scores.c.risk.is_(None), _scored_by_another(scorer_id)), else_=sa.false())
    place = occurrences.c.file, occurrences.c.line
    query = (
        select(
            *place, occurrences.c.metadata, samples.c.id, samples.c.content_hash, samples.c.body,
            scores.c.risk, stale, quarantine.c.reason,
        )
        .join_from(occurrences, samples, _on_line)
        .join(scores, score, isouter=True)
        .join(quarantine, held, isouter=True)
        .where(occurrences.c.dataset_id == dataset_id)
        .order_by(*place)
    )  # fmt: skip
    with conn.execute(query, execution_options={"yield_per": BLOCK}) as result:
        for block in result.partitions():
            yield [Line(*row) for row in block]


def line_totals(conn: Connection, dataset_id: int, scorer_id: int) -> Totals:
    """What there is to go through, counted at the moment of the call."""
    here = samples.c.dataset_id == dataset_id
    in_all = select(sa.func.count()).select_from(occurrences).where(occurrences.c.dataset_id == dataset_id)
    off = select(sa.func.count()).select_from(samples).where(here, ~_has_line())
    waiting = select(sa.func.count()).select_from(samples).where(here, _has_line(), untouched(scorer_id))
    row = conn.execute(select(*(query.scalar_subquery() for query in (in_all, off, waiting)))).one()
    return Totals(*row)


def risks_on_lines(conn: Connection, dataset_id: int, scorer_id: int) -> NDArray[np.float64]:
    """Risks of the scored samples that are on a line, shape (n,), from the highest down.

    Samples whose lines have all changed are left out: they cannot leave, and must not take the place of one that can.
    """
    ranks = Ranks(conn, dataset_id, scorer_id)
    on_line = sa.exists().where(
        occurrences.c.dataset_id == dataset_id, occurrences.c.sample_id == scores.c.sample_id
    )
    query = select(scores.c.risk).where(ranks.scored, on_line).order_by(scores.c.risk.desc())
    blocks: list[NDArray[np.float64]] = []
    with conn.execute(query, execution_options={"yield_per": _NUMBERS}) as result:
        for block in result.scalars().partitions():
            blocks.append(np.array(block, dtype=np.float64))
    return np.concatenate(blocks) if blocks else np.empty(0)


def record_export(engine: Engine, made: NewExport) -> int:
    """Keep an export, its policy, its manifest and its samples, all or none; returns the export's number."""
    runs = _runs(made.pks)
    with writing(engine) as conn:
        policy = bulk.insert(conn, policies).values(sha256=made.policy_sha256, body=made.policy)
        conn.execute(policy.on_conflict_do_nothing())
        row = {
            "dataset_id": made.dataset_id,
            "scorer_id": made.scorer_id,
            "policy_id": select(policies.c.id).where(policies.c.sha256 == made.policy_sha256).scalar_subquery(),
            "format": made.format,
            "counts": json.dumps(dict(made.counts)),
            "manifest_sha256": made.manifest_sha256,
            "exported_by": made.exported_by,
            "snapshot_at": made.snapshot_at.astimezone(UTC),
        }  # fmt: skip
        export_id = conn.execute(exports.insert().values(row).returning(exports.c.id)).scalar_one()
        conn.execute(manifests.insert().values(export_id=export_id, body=made.manifest))
        for start in range(0, len(runs), _NUMBERS):
            part = runs[start : start + _NUMBERS].tolist()
            bulk.load(
                conn, exported, [{"export_id": export_id, "first_pk": a, "last_pk": b} for a, b in part]
            )
    return export_id


def exports_of(conn: Connection, dataset_id: int, sample_pk: int) -> list[Export]:
    """The exports that hold a sample, oldest first."""
    holds = sa.exists().where(
        exported.c.export_id == exports.c.id,
        exported.c.first_pk <= sample_pk,
        exported.c.last_pk >= sample_pk,
    )
    query = (
        select(
            exports.c.id, policies.c.sha256, scorers.c.fingerprint, exports.c.format, exports.c.counts,
            exports.c.manifest_sha256, exports.c.exported_by, exports.c.snapshot_at,
        )
        .join_from(exports, policies)
        .join(scorers, scorers.c.id == exports.c.scorer_id)
        .where(exports.c.dataset_id == dataset_id, holds)
        .order_by(exports.c.snapshot_at, exports.c.id)
    )  # fmt: skip
    return [Export(*row[:4], json.loads(row.counts), *row[5:]) for row in conn.execute(query)]


def list_policies(conn: Connection) -> list[StoredPolicy]:
    """Every policy that something was exported by, oldest first."""
    query = select(policies.c.sha256, policies.c.body, policies.c.created_at).order_by(policies.c.id)
    return [StoredPolicy(sha256, json.loads(body), at) for sha256, body, at in conn.execute(query)]


_on_line = sa.and_(samples.c.dataset_id == occurrences.c.dataset_id, samples.c.id == occurrences.c.sample_id)


def _has_line() -> sa.Exists:
    return sa.exists().where(_on_line).correlate(samples)


def _scored_by_another(scorer_id: int) -> sa.Exists:
    other = scores.alias()
    # one look into the index per scorer, where a join would go through all scores
    of_scorer = sa.exists().where(other.c.scorer_id == scorers.c.id, other.c.sample_id == samples.c.id)
    return (
        sa.exists().where(scorers.c.id != scorer_id, of_scorer.correlate(scorers, samples)).correlate(samples)
    )


def _runs(pks: Sequence[int]) -> NDArray[np.int64]:
    """(first, last) of every run of numbers without a gap, shape (n, 2)."""
    distinct = np.unique(np.asarray(pks, dtype=np.int64))
    ends = np.flatnonzero(np.diff(distinct) != 1)
    return np.column_stack([distinct[np.append(0, ends + 1)], distinct[np.append(ends, len(distinct) - 1)]])
