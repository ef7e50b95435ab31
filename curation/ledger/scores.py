"""Scorers, the scores they gave, and the samples they could not score."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import IntegrityError

from curation.errors import LedgerError
from curation.ledger import bulk
from curation.ledger.engine import writing
from curation.ledger.samples import StoredSample, prefix_match
from curation.ledger.tables import quarantine, samples, scorers, scores
from curation.samples.sample import Sample

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


def unscored(
    conn: Connection, scorer_id: int, dataset_id: int, limit: int, after_pk: int = 0
) -> list[StoredSample]:
    """The next samples, in order of ingest, that the scorer has neither scored nor put in quarantine.

    Page with `after_pk`, the last pk of the page before. Begin again at 0 until nothing comes back: another
    process may have released a sample that was passed already.
    """
    pks = next_unscored(scorer_id, dataset_id, limit, after_pk)
    query = select(samples.c.id, samples.c.body).where(samples.c.id.in_(pks)).order_by(samples.c.id)
    return [StoredSample(pk, dataset_id, Sample.from_json(body)) for pk, body in conn.execute(query)]


def next_unscored(scorer_id: int, dataset_id: int, limit: int, after_pk: int) -> sa.Select[int]:
    """Query for the pks of `unscored`."""
    tried = sa.exists().where(quarantine.c.scorer_id == scorer_id, quarantine.c.sample_id == samples.c.id)
    return (
        select(samples.c.id)
        .where(samples.c.dataset_id == dataset_id, samples.c.id > after_pk)
        .where(~_has_score(scorer_id, samples.c.id), ~tried)
        .order_by(samples.c.id)
        .limit(limit)
    )


def still_held(dataset_id: int, scorer_id: int) -> sa.ColumnElement[bool]:
    """Condition on quarantine: the samples of a dataset that wait there, without a score."""
    of_dataset = sa.exists().where(samples.c.dataset_id == dataset_id, samples.c.id == quarantine.c.sample_id)
    has_score = _has_score(scorer_id, quarantine.c.sample_id)
    return sa.and_(quarantine.c.scorer_id == scorer_id, of_dataset, ~has_score)


def _has_score(scorer_id: int, sample_pk: sa.Column[int]) -> sa.Exists:
    return sa.exists().where(scores.c.scorer_id == scorer_id, scores.c.sample_id == sample_pk)


def write_scores(engine: Engine, scorer_id: int, rows: Iterable[ScoreRow]) -> None:
    """Keep scores, all or none; a sample that the scorer has scored already keeps its first score.

    Raises LedgerError, and keeps none, if a value is not finite or a sample is not in its dataset.
    """
    # In one order everywhere, so that two writers with samples in common wait and do not deadlock.
    ordered = sorted(rows, key=lambda row: row.sample_pk)
    if not ordered:
        return
    values = [_score_values(scorer_id, row) for row in ordered]
    try:
        with writing(engine) as conn:
            conn.execute(bulk.insert(conn, scores).on_conflict_do_nothing(), values)
    except IntegrityError:
        raise LedgerError(
            "a score names a scorer or sample that the ledger does not have",
            "Score the samples that `unscored` gives, with a scorer from `register_scorer`.",
        ) from None


def quarantine_sample(engine: Engine, scorer_id: int, sample_pk: int, reason: str) -> None:
    """Set a sample aside that the scorer could not score; once more counts as one more attempt.

    `reason` is shown to reviewers, so it must not hold text of the sample.
    """
    clean = "".join(c if c.isprintable() else " " for c in reason[:_MAX_REASON])
    row = {"scorer_id": scorer_id, "sample_id": sample_pk, "reason": clean, "attempts": 1}
    with writing(engine) as conn:
        statement = bulk.insert(conn, quarantine).values(row)
        again = {
            "reason": clean,
            "attempts": quarantine.c.attempts + 1,
            "last_at": sa.func.current_timestamp(),
        }
        conn.execute(statement.on_conflict_do_update(index_elements=["scorer_id", "sample_id"], set_=again))


def release(engine: Engine, scorer_id: int, dataset_id: int) -> int:
    """Let a dataset's quarantined samples be scored again; returns how many there were."""
    with writing(engine) as conn:
        return conn.execute(quarantine.delete().where(still_held(dataset_id, scorer_id))).rowcount


def _score_values(scorer_id: int, row: ScoreRow) -> dict[str, Any]:
    values = asdict(row)
    sample_pk = values.pop("sample_pk")
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise LedgerError(
            f"sample {sample_pk}: {', '.join(f'{name} is {values[name]}' for name in wrong)}",
            "A score must be finite: quarantine the sample instead.",
        )
    return {"scorer_id": scorer_id, "sample_id": sample_pk, **values}
