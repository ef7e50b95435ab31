"""What reviewers decided: rows that are only ever added, each tied to the text it was made on.

Which decision counts in the end is not stored: `curation.review.fold` works it out, under the rule it is asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Literal, NamedTuple, get_args

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row, select

from curation.errors import InputError, LedgerError
from curation.ledger import bulk, clock
from curation.ledger.engine import writing
from curation.ledger.samples import prefix_match
from curation.ledger.tables import decisions, occurrences, samples, scores

Verdict = Literal["approve", "reject", "withdraw"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

SEVERITY: dict[Verdict, int] = {"approve": 0, "withdraw": 1, "reject": 2}
"""Of two words of one reviewer at the same moment the stricter one counts as the later."""

CLOCK_SLACK = timedelta(minutes=5)
"""How far ahead of the database's clock a decision's time may be: other machines' clocks differ a little."""

_CHUNK = 1000
_BLOCK = 1000


@dataclass(frozen=True, slots=True)
class NewDecision:
    """A decision as it comes in. `decided_at` has a time zone; None: now, by the database's clock.

    `source` says where it was made and `remote_id` what it is called there, "" if it has no name. `withdraw` takes
    back what this reviewer said of this sample before: so does an annotation that was deleted or skipped.
    """

    content_hash: str
    verdict: Verdict
    reviewer: str
    source: str
    reason: str | None = None
    note: str | None = None
    remote_id: str = ""
    decided_at: datetime | None = None


class Decision(NamedTuple):
    """A decision in the ledger: made at `decided_at`, known here since `recorded_at`."""

    sample_pk: int
    content_hash: str
    verdict: Verdict
    reviewer: str
    reason: str | None
    note: str | None
    source: str
    remote_id: str
    decided_at: datetime
    recorded_at: datetime


def record_decisions(engine: Engine, dataset_id: int, made: Sequence[NewDecision]) -> int:
    """Keep decisions on samples of a dataset, all or none; returns how many were not there yet.

    Raises InputError for a reviewer without a name or a time still to come, LedgerError for a text that the dataset
    does not have.
    """
    new = 0
    with writing(engine) as conn:
        now: datetime = conn.execute(select(clock.in_seconds(0.0))).scalar_one()
        stream = iter(made)
        while chunk := list(islice(stream, _CHUNK)):
            pks = _find_texts(conn, dataset_id, {one.content_hash for one in chunk})
            rows = [_values(one, dataset_id, pks[one.content_hash], now) for one in chunk]
            insert = bulk.insert(conn, decisions).values(recorded_at=clock.in_seconds(0.0))
            done = conn.execute(
                insert.on_conflict_do_nothing(), rows, execution_options={"preserve_rowcount": True}
            )
            new += done.rowcount
    return new


def find_text(conn: Connection, dataset_id: int, id_prefix: str) -> str:
    """The content hash that begins so (6 or more hexadecimal digits) in one dataset.

    Raises InputError if it is no id, LedgerError if there is none or more than one.
    """
    wanted = samples.c.dataset_id == dataset_id, prefix_match(samples.c.content_hash, id_prefix)
    found = conn.execute(select(samples.c.content_hash).where(*wanted).limit(2)).scalars().all()
    if len(found) == 1:
        return found[0]
    problem = "more than one sample's id begins" if found else "no sample's id begins"
    raise LedgerError(
        f"{problem} with {id_prefix!r} in this dataset",
        "Give more of it." if found else "`curation queue` lists ids.",
    )


def decisions_on(conn: Connection, dataset_id: int, pks: Sequence[int]) -> Mapping[int, list[Decision]]:
    """All decisions on these samples of a dataset (at most some thousands), by sample."""
    query = _valid().where(decisions.c.dataset_id == dataset_id, decisions.c.sample_id.in_(pks))
    return dict(_by_sample(map(_decision, conn.execute(query.order_by(decisions.c.sample_id)))))


def decided_samples(conn: Connection, dataset_id: int) -> Iterator[tuple[int, list[Decision]]]:
    """(sample, its decisions) for every sample of a dataset with any, as a stream in order of ingest."""
    query = _valid().where(decisions.c.dataset_id == dataset_id).order_by(decisions.c.sample_id)
    with conn.execute(query, execution_options={"yield_per": _BLOCK}) as result:
        yield from _by_sample(map(_decision, result))


def risks_of_decided(conn: Connection, dataset_id: int, scorer_id: int) -> dict[int, float]:
    """Risk by one scorer of every sample with a decision that is on a line now."""
    decided = sa.exists().where(
        decisions.c.dataset_id == dataset_id, decisions.c.sample_id == scores.c.sample_id
    )
    on_line = sa.exists().where(
        occurrences.c.dataset_id == dataset_id, occurrences.c.sample_id == scores.c.sample_id
    )
    query = select(scores.c.sample_id, scores.c.risk).where(
        scores.c.scorer_id == scorer_id, scores.c.dataset_id == dataset_id, decided, on_line
    )
    with conn.execute(query, execution_options={"yield_per": _BLOCK}) as result:
        return {row.sample_id: row.risk for row in result}


def last_word_is(
    verdicts: Collection[Verdict], dataset_id: sa.ColumnElement[int], sample_pk: sa.ColumnElement[int]
) -> sa.ColumnElement[bool]:
    """Condition: the last word of some reviewer on a sample is one of these."""
    later = decisions.alias()
    stricter = sa.case(SEVERITY, value=later.c.verdict) > sa.case(SEVERITY, value=decisions.c.verdict)
    last = ~sa.exists().where(
        later.c.dataset_id == decisions.c.dataset_id,
        later.c.sample_id == decisions.c.sample_id,
        later.c.reviewer == decisions.c.reviewer,
        sa.or_(
            later.c.decided_at > decisions.c.decided_at,
            sa.and_(later.c.decided_at == decisions.c.decided_at, stricter),
        ),
    )
    return sa.exists().where(
        decisions.c.dataset_id == dataset_id,
        decisions.c.sample_id == sample_pk,
        decisions.c.verdict.in_(verdicts),
        last,
    )


class Standings(NamedTuple):
    """Samples of a dataset on which somebody's word stands: approved by all who spoke, rejected by all, or neither."""

    approved: int
    rejected: int
    conflict: int


def standings(conn: Connection, dataset_id: int) -> Standings:
    """How many samples stand how, counted now."""

    def said(verdict: Verdict) -> sa.ColumnElement[bool]:
        return last_word_is((verdict,), sa.literal(dataset_id), decided.c.sample_id)

    decided = select(decisions.c.sample_id).where(decisions.c.dataset_id == dataset_id).distinct().subquery()
    kinds = (
        sa.and_(said("approve"), ~said("reject")),
        sa.and_(said("reject"), ~said("approve")),
        sa.and_(said("approve"), said("reject")),
    )
    counted = select(*(sa.func.count(sa.case((kind, 1))) for kind in kinds)).select_from(decided)
    return Standings(*conn.execute(counted).one())


def _valid() -> sa.Select[*tuple[Any, ...]]:
    """Decisions whose sample still holds the very text they were made on."""
    same_text = sa.and_(
        samples.c.dataset_id == decisions.c.dataset_id,
        samples.c.id == decisions.c.sample_id,
        samples.c.content_hash == decisions.c.content_hash,
    )
    columns = [decisions.c.sample_id, *(decisions.c[name] for name in Decision._fields[1:])]
    return select(*columns).join_from(decisions, samples, same_text)


def _decision(row: Row[Any]) -> Decision:
    return Decision(*row)


def _by_sample(stream: Iterator[Decision]) -> Iterator[tuple[int, list[Decision]]]:
    for pk, group in groupby(stream, key=attrgetter("sample_pk")):
        yield pk, list(group)


def _find_texts(conn: Connection, dataset_id: int, hashes: set[str]) -> dict[str, int]:
    query = select(samples.c.content_hash, samples.c.id).where(
        samples.c.dataset_id == dataset_id, samples.c.content_hash.in_(hashes)
    )
    found = {row.content_hash: row.id for row in conn.execute(query)}
    if missing := sorted(hashes - found.keys()):
        raise LedgerError(
            f"{len(missing):,} decisions are on texts that the dataset does not have, such as {missing[0]!r}",
            "Nothing was recorded. Ingest those samples first.",
        )
    return found


def _values(one: NewDecision, dataset_id: int, pk: int, now: datetime) -> dict[str, Any]:
    if one.verdict not in VERDICTS:
        raise InputError(f"{one.verdict!r:.40} is no verdict", f"Use one of: {', '.join(VERDICTS)}.")
    if not one.reviewer.strip() or not one.reviewer.isprintable():
        raise InputError(f"{one.reviewer!r:.80} is not a reviewer's name", "Use printable characters.")
    decided_at = one.decided_at or now
    if decided_at > now + CLOCK_SLACK:
        raise InputError(
            f"a decision on {one.content_hash[:12]} has the time {decided_at}, which is still to come",
            "The later of two decisions counts, so times must be right. Nothing was recorded.",
        )
    return {
        "dataset_id": dataset_id,
        "sample_id": pk,
        "content_hash": one.content_hash,
        "verdict": one.verdict,
        "reviewer": one.reviewer.strip(),
        "reason": _text(one.reason),
        "note": _text(one.note),
        "source": one.source,
        "remote_id": one.remote_id,
        "decided_at": decided_at.astimezone(UTC),  # SQLite keeps no time zone
    }


def _text(text: str | None) -> str | None:
    """What a reviewer wrote, without the two things that a database cannot hold."""
    if not text or not text.strip():
        return None
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode(errors="replace").decode()
