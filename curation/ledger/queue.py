"""The review queue: every sample of a dataset, the most pressing first, a page at a time.

Order: quarantined (nobody knows what they hold), then not yet scored, then by risk from the highest; equals
by pk. Each page starts where the last one ended, at a value and not at a count, so a deep page costs what the
first does and rows that arrive in between move nothing. A sample can come up twice only if its state changed
in between: seen as unscored, it has its place among the scored ones too once it has a score.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Any, Literal, get_args

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Row, select

from curation.errors import InputError, LedgerError
from curation.ledger.ranks import Ranks
from curation.ledger.scores import next_unscored, still_held
from curation.ledger.tables import occurrences, quarantine, samples, scores
from curation.samples.sample import Sample
from curation.triage import TIERS, Tier, TierPolicy, percentile

State = Literal["quarantined", "unscored", "scored"]
STATES: tuple[State, ...] = get_args(State)
"""All states, in the order of the queue."""

MAX_PAGE = 1000


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A sample as a reviewer meets it.

    The score's fields and rank are None unless the state is "scored"; `reason` is None unless it is
    "quarantined". Higher risk = riskier, percentile 100 = riskiest. `copies` counts the lines that hold the
    sample now; it is 0 once they have all changed.
    """

    pk: int
    content_hash: str
    state: State
    sample: Sample
    copies: int
    reason: str | None = None
    risk: float | None = None
    danger: float | None = None
    safety: float | None = None
    loss: float | None = None
    grad_norm: float | None = None
    n_tokens: int | None = None
    n_answer_tokens: int | None = None
    truncated: bool | None = None
    percentile: float | None = None
    tier: Tier | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """`next_cursor` asks for what follows; None: this was the last page."""

    items: tuple[QueueItem, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _Cursor:
    """The last item passed; `risk` matters among the scored only."""

    state: State
    pk: int
    risk: float

    def encode(self) -> str:
        position = orjson.dumps([self.state, self.pk, self.risk])
        return base64.urlsafe_b64encode(position).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> _Cursor:
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            state, pk, risk = orjson.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
            if state in STATES and type(pk) is int and 0 <= pk < 2**63 and math.isfinite(risk):
                return cls(state, pk, float(risk))
        except (ValueError, TypeError):
            pass
        raise InputError(
            "the page's cursor is not one that this queue gave", "Begin again at the first page."
        )


def page(
    conn: Connection,
    dataset_id: int,
    scorer_id: int,
    limit: int = 50,
    after: str | None = None,
    tiers: Collection[Tier] | None = None,
    policy: TierPolicy | None = None,
) -> Page:
    """The next `limit` items (1 to 1000) after the cursor; with `tiers`, only scored samples of those tiers.

    Percentiles and tiers are exact at the moment of the call. Raises InputError for a bad limit, tier or
    cursor.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InputError(f"a page of {limit} items", f"Ask for 1 to {MAX_PAGE}.")
    if unknown := set(tiers or ()) - set(TIERS):
        raise InputError(f"no such tier: {', '.join(sorted(unknown))}", f"Tiers are {', '.join(TIERS)}.")
    cursor = _Cursor.decode(after) if after else None
    walk = _walk(Ranks(conn, dataset_id, scorer_id), cursor, limit + 1, tiers, policy or TierPolicy())
    items = tuple(islice(walk, limit + 1))
    if len(items) <= limit:
        return Page(items, None)
    last = items[limit - 1]
    return Page(items[:limit], _Cursor(last.state, last.pk, last.risk or 0.0).encode())


def score_of(conn: Connection, scorer_id: int, sample_pk: int, policy: TierPolicy | None = None) -> QueueItem:
    """One sample as it stands in the queue. Raises LedgerError if the ledger has no such sample."""
    if row := conn.execute(_scored_rows(scorer_id).where(samples.c.id == sample_pk)).one_or_none():
        above, n = Ranks(conn, row.dataset_id, scorer_id).place(row.risk)
        return _scored_item(row, percentile(above, n), policy or TierPolicy())
    if row := conn.execute(_other_rows(scorer_id).where(samples.c.id == sample_pk)).one_or_none():
        return _item(row, "unscored" if row.reason is None else "quarantined", reason=row.reason)
    raise LedgerError(f"there is no sample number {sample_pk}", "`curation queue` lists those there are.")


def _walk(
    ranks: Ranks, cursor: _Cursor | None, limit: int, tiers: Collection[Tier] | None, policy: TierPolicy
) -> Iterator[QueueItem]:
    """Items after the cursor; each part is asked for only once the part before it is used up."""
    state, pk = (cursor.state, cursor.pk) if cursor else ("quarantined", 0)
    if tiers is None and state == "quarantined":
        yield from _quarantined(ranks, pk, limit)
        state, pk = "unscored", 0
    if tiers is None and state == "unscored":
        yield from _unscored(ranks, pk, limit)
    bands = [sa.true()] if tiers is None else ranks.bands(policy, tiers).values()
    for band in bands:
        yield from _scored(
            ranks, band, cursor if cursor and cursor.state == "scored" else None, limit, policy
        )


def _quarantined(ranks: Ranks, after_pk: int, limit: int) -> Iterator[QueueItem]:
    held = select(quarantine.c.sample_id).where(
        still_held(ranks.dataset_id, ranks.scorer_id), quarantine.c.sample_id > after_pk
    )
    pks = held.order_by(quarantine.c.sample_id).limit(limit)
    query = _other_rows(ranks.scorer_id).where(samples.c.id.in_(pks)).order_by(samples.c.id)
    for row in ranks.conn.execute(query):
        yield _item(row, "quarantined", reason=row.reason)


def _unscored(ranks: Ranks, after_pk: int, limit: int) -> Iterator[QueueItem]:
    n_samples, n_scored, n_held = count_states(ranks)
    if n_samples == n_scored + n_held:
        return  # the usual case, and counting tells so sooner than a search through all samples
    pks = next_unscored(ranks.scorer_id, ranks.dataset_id, limit, after_pk)
    query = _other_rows(ranks.scorer_id).where(samples.c.id.in_(pks)).order_by(samples.c.id)
    for row in ranks.conn.execute(query):
        yield _item(row, "unscored")


def _scored(
    ranks: Ranks, band: sa.ColumnElement[bool], cursor: _Cursor | None, limit: int, policy: TierPolicy
) -> Iterator[QueueItem]:
    """The riskiest items of a band that come after the cursor."""
    query = _scored_rows(ranks.scorer_id).where(ranks.scored, band)
    if cursor:
        # The first condition says where in the index to begin, which databases do not see in the second.
        after = sa.or_(scores.c.risk < cursor.risk, scores.c.sample_id > cursor.pk)
        query = query.where(scores.c.risk <= cursor.risk, after)
    query = query.order_by(scores.c.risk.desc(), scores.c.sample_id).limit(limit)
    above = n = 0
    counted = False
    for risk, tie in groupby(ranks.conn.execute(query).all(), key=attrgetter("risk")):
        if not counted:
            above, n = ranks.place(risk)
        equals = [_scored_item(row, percentile(above, n), policy) for row in tie]
        yield from equals
        above += len(equals)
        # These rows tell how many are above the next, unless some of this tie are before the cursor.
        counted = cursor is None or risk != cursor.risk


def count_states(ranks: Ranks) -> tuple[int, int, int]:
    """Samples in all, scored, and quarantined without a score, at one moment."""
    in_all = select(sa.func.count()).select_from(samples).where(samples.c.dataset_id == ranks.dataset_id)
    held = select(sa.func.count()).select_from(quarantine)
    held = held.where(still_held(ranks.dataset_id, ranks.scorer_id))
    query = select(in_all.scalar_subquery(), ranks.count(), held.scalar_subquery())
    n_samples, n_scored, n_held = ranks.conn.execute(query).one()
    return n_samples, n_scored, n_held


_copies = (
    select(sa.func.count())
    .where(occurrences.c.dataset_id == samples.c.dataset_id, occurrences.c.sample_id == samples.c.id)
    .correlate(samples)
    .scalar_subquery()
    .label("copies")
)
_sample_columns = (
    samples.c.id.label("pk"),
    samples.c.dataset_id,
    samples.c.content_hash,
    samples.c.body,
    _copies,
)
_SCORE_FIELDS = ("risk", "danger", "safety", "loss", "grad_norm", "n_tokens", "n_answer_tokens", "truncated")


def _scored_rows(scorer_id: int) -> sa.Select[*tuple[Any, ...]]:
    columns = (*_sample_columns, *(scores.c[name] for name in _SCORE_FIELDS))
    of_sample = sa.and_(scores.c.sample_id == samples.c.id, scores.c.scorer_id == scorer_id)
    return select(*columns).join_from(scores, samples, of_sample)


def _other_rows(scorer_id: int) -> sa.Select[*tuple[Any, ...]]:
    of_sample = sa.and_(quarantine.c.sample_id == samples.c.id, quarantine.c.scorer_id == scorer_id)
    return select(*_sample_columns, quarantine.c.reason).join_from(
        samples, quarantine, of_sample, isouter=True
    )


def _scored_item(row: Row[Any], percentile: float, policy: TierPolicy) -> QueueItem:
    fields = {name: getattr(row, name) for name in _SCORE_FIELDS}
    return _item(row, "scored", percentile=percentile, tier=policy.tier(percentile), **fields)


def _item(row: Row[Any], state: State, **fields: Any) -> QueueItem:
    sample = Sample.from_json(row.body)
    return QueueItem(row.pk, row.content_hash, state, sample, row.copies, **fields)
