"""Scorers, the scores they gave, and the samples they could not score."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import IntegrityError

from curation.errors import LedgerError
from curation.ledger import bulk
from curation.ledger.cells import tally
from curation.ledger.engine import writing
from curation.ledger.samples import prefix_match
from curation.ledger.tables import quarantine, samples, scorers, scores

_MAX_REASON = 500


class Scorer(NamedTuple):
    """An immutable scorer: whatever changes its scores changes its fingerprint."""

    id: int
    fingerprint: str
    card: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """A score for the sample `sample_pk`. Higher risk = riskier; risk = danger - safety."""

    sample_pk: int
    dataset_id: int
    risk: float
    danger: float
    safety: float
    loss: float
    grad_norm: float
    n_tokens: int
    n_answer_tokens: int
    truncated: bool


_VALUES = [field.name for field in fields(ScoreRow) if field.name != "sample_pk"]


def register_scorer(engine: Engine, fingerprint: str, card: Mapping[str, Any]) -> int:
    """The scorer's number in this ledger; the first call with a fingerprint keeps its card."""
    row = {"fingerprint": fingerprint, "card": json.dumps(dict(card))}
    with writing(engine) as conn:
        conn.execute(bulk.insert(conn, scorers).values(row).on_conflict_do_nothing())
        return conn.execute(select(scorers.c.id).where(scorers.c.fingerprint == fingerprint)).scalar_one()


def find_scorer(conn: Connection, fingerprint_prefix: str | None = None) -> Scorer:
    """The scorer whose fingerprint begins so (6 or more hexadecimal digits); None: the newest one.

    Raises LedgerError if there is none or more than one.
    """
    query = select(scorers).order_by(scorers.c.id.desc())
    if fingerprint_prefix is None:
        found = conn.execute(query.limit(1)).all()
    else:
        found = conn.execute(
            query.where(prefix_match(scorers.c.fingerprint, fingerprint_prefix)).limit(10)
        ).all()
    if len(found) == 1:
        return Scorer(found[0].id, found[0].fingerprint, json.loads(found[0].card), found[0].created_at)
    if found:
        listed = "".join(f"\n  {row.fingerprint}" for row in found)
        raise LedgerError(
            f"more than one scorer begins with {fingerprint_prefix!r}:{listed}", "Give more of it."
        )
    if fingerprint_prefix is None:
        raise LedgerError("nothing has been scored in this ledger", "Run `curation score` first.")
    raise LedgerError(
        f"no scorer begins with {fingerprint_prefix!r}", "Leave it out to use the newest scorer."
    )


def newest_scorer(conn: Connection, fingerprint_prefix: str | None = None) -> tuple[int, str | None]:
    """Number and fingerprint of the scorer named, or of the newest.

    Before anything is scored there is none: then the number is 0, which no scorer has, and by it every sample
    is unscored. Raises LedgerError if the one named is not there.
    """
    try:
        stored = find_scorer(conn, fingerprint_prefix)
    except LedgerError:
        if fingerprint_prefix is not None:
            raise
        return 0, None
    return stored.id, stored.fingerprint


def scorer_by_id(conn: Connection, scorer_id: int) -> Scorer:
    """The scorer of that number. Raises LedgerError if there is none."""
    row = conn.execute(select(scorers).where(scorers.c.id == scorer_id)).one_or_none()
    if row is None:
        raise LedgerError(f"there is no scorer number {scorer_id}", "`curation scorers list` shows them.")
    return Scorer(row.id, row.fingerprint, json.loads(row.card), row.created_at)


def next_unscored(scorer_id: int, dataset_id: int, limit: int, after_pk: int) -> sa.Select[int]:
    """Query for the next pks, in order of ingest, that the scorer has neither scored nor put in quarantine."""
    return (
        select(samples.c.id)
        .where(samples.c.dataset_id == dataset_id, samples.c.id > after_pk, untouched(scorer_id))
        .order_by(samples.c.id)
        .limit(limit)
    )


def untouched(scorer_id: int) -> sa.ColumnElement[bool]:
    """Condition on samples: the scorer has neither scored them nor put them in quarantine."""
    return sa.and_(_lacks(scores, scorer_id, samples.c.id), _lacks(quarantine, scorer_id, samples.c.id))


def still_held(dataset_id: int, scorer_id: int) -> sa.ColumnElement[bool]:
    """Condition on quarantine: the samples of a dataset that wait there, without a score."""
    of_dataset = sa.exists().where(samples.c.dataset_id == dataset_id, samples.c.id == quarantine.c.sample_id)
    no_score = _lacks(scores, scorer_id, quarantine.c.sample_id)
    return sa.and_(quarantine.c.scorer_id == scorer_id, of_dataset, no_score)


def _lacks(table: sa.Table, scorer_id: int, sample_pk: sa.Column[int]) -> sa.ColumnElement[bool]:
    """Condition: the table, whose key is scorer and sample, has no row of theirs.

    A scalar subquery is one look into the index for each sample. NOT EXISTS becomes a join on Postgres, whose
    planner takes a new scorer's scores for none until statistics are renewed, and then compares all with all.
    Within CASE, because it expects hardly any row of a bare IS NULL, and would sort them all to find the first.
    """
    one = select(table.c.scorer_id).where(table.c.scorer_id == scorer_id, table.c.sample_id == sample_pk)
    return sa.case((one.scalar_subquery().is_(None), sa.true()), else_=sa.false())


def insert_scores(conn: Connection, scorer_id: int, rows: Iterable[ScoreRow]) -> None:
    """Keep scores, as part of a transaction; a sample that the scorer has scored already keeps its first score.

    Raises LedgerError if a value is not finite or a sample is not in its dataset.
    """
    # In one order everywhere, so that two writers with samples in common wait and do not deadlock.
    ordered = sorted(rows, key=lambda row: row.sample_pk)
    if not ordered:
        return
    values = [_score_values(scorer_id, row) for row in ordered]
    try:
        added = bulk.insert_new(conn, scores, values, scores.c.dataset_id, scores.c.risk)
    except IntegrityError:
        raise LedgerError(
            "a score names a scorer or sample that the ledger does not have",
            "Score the samples of a lease, with a scorer from `register_scorer`.",
        ) from None
    tally(conn, scorer_id, ((row.dataset_id, row.risk) for row in added))


def insert_quarantine(conn: Connection, scorer_id: int, failures: Iterable[tuple[int, str]]) -> None:
    """Set samples aside that the scorer could not score, given as (sample, reason), as part of a transaction.

    Once more counts as one more attempt. Reasons are shown to reviewers, so they must not hold sample text.
    """
    rows = [
        {"scorer_id": scorer_id, "sample_id": pk, "reason": _clean(reason), "attempts": 1}
        for pk, reason in sorted(failures)
    ]
    if not rows:
        return
    statement = bulk.insert(conn, quarantine)
    again = {
        "reason": statement.excluded.reason,
        "attempts": quarantine.c.attempts + 1,
        "last_at": sa.func.current_timestamp(),
    }
    conn.execute(statement.on_conflict_do_update(index_elements=["scorer_id", "sample_id"], set_=again), rows)


def _clean(reason: str) -> str:
    return "".join(c if c.isprintable() else " " for c in reason[:_MAX_REASON])


def _score_values(scorer_id: int, row: ScoreRow) -> dict[str, Any]:
    values = {
        name: getattr(row, name) for name in _VALUES
    }  # asdict copies deeply, which takes ten times as long
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise LedgerError(
            f"sample {row.sample_pk}: {', '.join(f'{name} is {values[name]}' for name in wrong)}",
            "A score must be finite: quarantine the sample instead.",
        )
    return {"scorer_id": scorer_id, "sample_id": row.sample_pk, **values}
