"""What left, the latest first: exports with their seals, the samples in them, and the policies they went by."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, RowMapping, select

from curation.errors import LedgerError
from curation.ledger.tables import (
    datasets,
    exported,
    exports,
    manifests,
    policies,
    samples,
    scorers,
    scores,
)
from curation.samples.sample import Sample


@dataclass(frozen=True, slots=True)
class LoggedExport:
    """An export as recorded. `manifest` is the sealed file, None for exports from before it was kept."""

    id: int
    dataset_id: int
    dataset: str
    scorer_id: int
    scorer: str
    policy_sha256: str
    policy: dict[str, Any]
    format: str
    counts: dict[str, Any]
    manifest_sha256: str
    exported_by: str
    snapshot_at: datetime
    manifest: str | None

    @property
    def seal(self) -> dict[str, Any] | None:
        """What the manifest says."""
        return json.loads(self.manifest) if self.manifest else None


@dataclass(frozen=True, slots=True)
class ExportedSample:
    """A sample of an export; `risk` by the export's scorer, higher = riskier."""

    pk: int
    content_hash: str
    sample: Sample
    risk: float | None


class UsedPolicy(NamedTuple):
    """A policy with how often, when first and last, and for which datasets something was exported by it."""

    sha256: str
    body: dict[str, Any]
    created_at: datetime
    exports: int
    last_at: datetime
    datasets: tuple[str, ...]


def latest_exports(
    conn: Connection,
    limit: int = 50,
    before: int | None = None,
    dataset_id: int | None = None,
    policy_sha256: str | None = None,
) -> list[LoggedExport]:
    """The next `limit` exports with a number below `before`, the latest first, that meet the filters."""
    query = _exports()
    if before is not None:
        query = query.where(exports.c.id < before)
    if dataset_id is not None:
        query = query.where(exports.c.dataset_id == dataset_id)
    if policy_sha256 is not None:
        query = query.where(policies.c.sha256 == policy_sha256)
    query = query.order_by(exports.c.id.desc()).limit(limit)
    return [_logged(row) for row in conn.execute(query).mappings()]


def find_export(conn: Connection, number: int) -> LoggedExport:
    """The export of that number. Raises LedgerError if there is none."""
    row = conn.execute(_exports().where(exports.c.id == number)).mappings().one_or_none()
    if row is not None:
        return _logged(row)
    raise LedgerError(f"there is no export {number}", "`curation export` says the number of what it wrote.")


def exported_samples(
    conn: Connection, export: LoggedExport, limit: int, after_pk: int = 0
) -> list[ExportedSample]:
    """The next `limit` samples of an export after one, in order of ingest."""
    pks = _pks(conn, export.id, limit, after_pk)
    score = sa.and_(scores.c.sample_id == samples.c.id, scores.c.scorer_id == export.scorer_id)
    query = (
        select(samples.c.id, samples.c.content_hash, samples.c.body, scores.c.risk)
        .join_from(samples, scores, score, isouter=True)
        .where(samples.c.id.in_(pks))
        .order_by(samples.c.id)
    )
    return [
        ExportedSample(pk, digest, Sample.from_json(body), risk)
        for pk, digest, body, risk in conn.execute(query)
    ]


def used_policies(conn: Connection) -> list[UsedPolicy]:
    """Every policy that something was exported by, the one that was used last first."""
    names: dict[int, list[str]] = {}
    pairs = select(exports.c.policy_id, datasets.c.name).distinct().join_from(exports, datasets)
    for policy_id, name in conn.execute(pairs.order_by(datasets.c.name)):
        names.setdefault(policy_id, []).append(name)
    last = sa.func.max(exports.c.snapshot_at)
    query = (
        select(
            policies.c.id, policies.c.sha256, policies.c.body, policies.c.created_at, sa.func.count(), last
        )
        .join_from(policies, exports)
        .group_by(policies.c.id, policies.c.sha256, policies.c.body, policies.c.created_at)
        .order_by(sa.func.max(exports.c.id).desc())
    )
    return [
        UsedPolicy(sha256, json.loads(body), created_at, n, last_at, tuple(names[policy_id]))
        for policy_id, sha256, body, created_at, n, last_at in conn.execute(query)
    ]


def _exports() -> sa.Select[*tuple[Any, ...]]:
    return (
        select(
            exports.c.id, exports.c.dataset_id, datasets.c.name.label("dataset"), exports.c.scorer_id,
            scorers.c.fingerprint.label("scorer"), policies.c.sha256.label("policy_sha256"),
            policies.c.body.label("policy"), exports.c.format, exports.c.counts,
            exports.c.manifest_sha256, exports.c.exported_by, exports.c.snapshot_at,
            manifests.c.body.label("manifest"),
        )
        .join_from(exports, datasets)
        .join(policies, policies.c.id == exports.c.policy_id)
        .join(scorers, scorers.c.id == exports.c.scorer_id)
        .join(manifests, manifests.c.export_id == exports.c.id, isouter=True)
    )  # fmt: skip


def _logged(row: RowMapping) -> LoggedExport:
    read = {"policy": json.loads(row["policy"]), "counts": json.loads(row["counts"])}
    return LoggedExport(**dict(row) | read)


def _pks(conn: Connection, export_id: int, limit: int, after_pk: int) -> Sequence[int]:
    """The next samples of an export: runs have no gaps, so their ends say which these are."""
    mine = exported.c.export_id == export_id
    begin = select(sa.func.max(exported.c.first_pk)).where(mine, exported.c.first_pk <= after_pk)
    query = select(exported.c.first_pk, exported.c.last_pk).where(
        mine, exported.c.first_pk >= sa.func.coalesce(begin.scalar_subquery(), 0)
    )
    pks: list[int] = []
    for first, last in conn.execute(query.order_by(exported.c.first_pk).limit(limit + 1)):
        first = max(first, after_pk + 1)
        pks.extend(range(first, min(last, first + limit - len(pks) - 1) + 1))
        if len(pks) == limit:
            break
    return pks
