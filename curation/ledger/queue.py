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
from curation.ledger.backlog import backlog_ranges
from curation.ledger.narrowing import Narrowing
from curation.ledger.ranks import Ranks
from curation.ledger.scores import next_unscored, still_held
from curation.ledger.tables import occurrences, quarantine, samples, scores
from curation.samples.sample import Sample
from curation.triage import TIERS, Tier, TierPolicy, percentile

State = Literal["quarantined", "unscored", "scored"]
STATES: tuple[State, ...] = get_args(State)
"""All states, in the order of the queue."""

MAX_PAGE = 1000

_WINDOW_BY_PK = 5000  # samples without a score are few, and are named one by one
_BLOCK = 500


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
    """`next_cursor` asks for what follows; None: this was the last page.

    `looked_through`: the page ended because it had looked through so many samples, and there may be more after the
    cursor; None: it is full, or the last.
    """

    items: tuple[QueueItem, ...]
    next_cursor: str | None
    looked_through: int | None = None


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
    state: State | None = None,
    narrowing: Narrowing | None = None,
) -> Page:
    """The next `limit` items (1 to 1000) after the cursor; with `tiers`, only scored samples of those tiers.

    Percentiles and tiers are exact at the moment of the call. Raises InputError for a bad limit, tier or
    cursor. `state`: only samples in that state; `narrowing`: see there.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise InputError(f"a page of {limit} items", f"Ask for 1 to {MAX_PAGE}.")
    if unknown := set(tiers or ()) - set(TIERS):
        raise InputError(f"no such tier: {', '.join(sorted(unknown))}", f"Tiers are {', '.join(TIERS)}.")
    cursor = _Cursor.decode(after) if after else None
    walk = _Walk(
        Ranks(conn, dataset_id, scorer_id), limit + 1, policy or TierPolicy(), narrowing or Narrowing()
    )
    states = (state,) if state else ("scored",) if tiers is not None else STATES
    found: list[QueueItem] = []
    for step in walk.steps(cursor, states, tiers):
        if isinstance(step, _Cursor):
            return Page(tuple(found), step.encode(), walk.window(step.state))
        found.append(step)
        if len(found) > limit:
            return Page(tuple(found[:limit]), cursor_after(found[limit - 1]))
    return Page(tuple(found), None)


def cursor_after(item: QueueItem) -> str:
    """The cursor of the page that begins after an item."""
    return _Cursor(item.state, item.pk, item.risk or 0.0).encode()


def score_of(conn: Connection, scorer_id: int, sample_pk: int, policy: TierPolicy | None = None) -> QueueItem:
    """One sample as it stands in the queue. Raises LedgerError if the ledger has no such sample."""
    if row := conn.execute(_scored_rows(scorer_id).where(samples.c.id == sample_pk)).one_or_none():
        above, n = Ranks(conn, row.dataset_id, scorer_id).place(row.risk)
        return _scored_item(row, percentile(above, n), policy or TierPolicy())
    if row := conn.execute(_other_rows(scorer_id).where(samples.c.id == sample_pk)).one_or_none():
        return _item(row, "unscored" if row.reason is None else "quarantined", reason=row.reason)
    raise LedgerError(f"there is no sample number {sample_pk}", "`curation queue` lists those there are.")


@dataclass(frozen=True, slots=True)
class _Walk:
    """The way through the queue: items that the narrowing keeps, at most `limit` of each part."""

    ranks: Ranks
    limit: int
    policy: TierPolicy
    narrowing: Narrowing

    def steps(
        self, cursor: _Cursor | None, states: Collection[State], tiers: Collection[Tier] | None
    ) -> Iterator[QueueItem | _Cursor]:
        """Items after the cursor; each part is asked for only once the part before it is used up. A cursor among them
        is where the walk ended before the queue did."""
        begin = cursor.state if cursor else "quarantined"
        for state in STATES[STATES.index(begin) :]:
            if state not in states:
                continue
            here = cursor if cursor and cursor.state == state else None
            if state == "scored":
                bands = [sa.true()] if tiers is None else self.ranks.bands(self.policy, tiers).values()
                for band in bands:
                    yield from self._scored(band, here)
            else:
                yield from self._without_score(state, here.pk if here else 0)

    def window(self, state: State) -> int:
        """How many samples in a state are looked through for one page."""
        return self.narrowing.window if state == "scored" else _WINDOW_BY_PK

    def _without_score(
        self, state: Literal["quarantined", "unscored"], after_pk: int
    ) -> Iterator[QueueItem | _Cursor]:
        where = self.narrowing.where(self.ranks.dataset_id, samples.c.id)
        look = _WINDOW_BY_PK if where else self.limit
        find = _held if state == "quarantined" else unscored
        pks = find(self.ranks, look, after_pk)
        query = _other_rows(self.ranks.scorer_id).where(samples.c.id.in_(pks), *where)
        for row in self._kept(query.order_by(samples.c.id)):
            yield _item(row, state, reason=row.reason if state == "quarantined" else None)
        if where and len(pks) == look:
            yield _Cursor(state, pks[-1], 0.0)

    def _scored(self, band: sa.ColumnElement[bool], cursor: _Cursor | None) -> Iterator[QueueItem | _Cursor]:
        """The riskiest items of a band that come after the cursor."""
        ranks = self.ranks
        where = self.narrowing.where(ranks.dataset_id, scores.c.sample_id)
        there = [ranks.scored, band]
        if cursor:
            # The first condition says where in the index to begin, which databases do not see in the second.
            after = sa.or_(scores.c.risk < cursor.risk, scores.c.sample_id > cursor.pk)
            there += [scores.c.risk <= cursor.risk, after]
        order = scores.c.risk.desc(), scores.c.sample_id
        end = None
        if where:
            ends = select(scores.c.risk, scores.c.sample_id).where(*there).order_by(*order)
            end = ranks.conn.execute(ends.offset(self.narrowing.window - 1).limit(1)).one_or_none()
            if end:
                before = sa.or_(scores.c.risk > end.risk, scores.c.sample_id <= end.sample_id)
                there += [scores.c.risk >= end.risk, before]
        above = n = 0
        counted = False
        rows = self._kept(_scored_rows(ranks.scorer_id).where(*there, *where).order_by(*order))
        for risk, tie in groupby(rows, key=attrgetter("risk")):
            if not counted:
                above, n = ranks.place(risk)
            equals = [_scored_item(row, percentile(above, n), self.policy) for row in tie]
            yield from equals
            above += len(equals)
            # These rows tell how many are above the next, unless some were left out or are before the cursor.
            counted = not where and (cursor is None or risk != cursor.risk)
        if end:
            yield _Cursor("scored", end.sample_id, end.risk)

    def _kept(self, query: sa.Select[*tuple[Any, ...]]) -> list[Row[Any]]:
        if not self.narrowing.text:
            return list(self.ranks.conn.execute(query.limit(self.limit)))
        with self.ranks.conn.execute(query, execution_options={"yield_per": _BLOCK}) as rows:
            return list(islice((row for row in rows if self.narrowing.keeps(row.body)), self.limit))


def _held(ranks: Ranks, limit: int, after_pk: int) -> list[int]:
    """The first samples after a given one that are in quarantine, in order of ingest."""
    held = select(quarantine.c.sample_id).where(
        still_held(ranks.dataset_id, ranks.scorer_id), quarantine.c.sample_id > after_pk
    )
    return list(ranks.conn.execute(held.order_by(quarantine.c.sample_id).limit(limit)).scalars())


def unscored(
    ranks: Ranks, limit: int, after_pk: int = 0, where: sa.ColumnElement[bool] | None = None
) -> list[int]:
    """The first `limit` samples after a given one that are neither scored nor set aside, in order of ingest.

    Looked for where the scorer's backlog says that there may be some, which after a full pass is nowhere.
    """
    ranges = backlog_ranges(ranks.conn, ranks.scorer_id, ranks.dataset_id)
    if all(last_pk is not None for _, last_pk in ranges):  # retired, or never told of the dataset
        n_samples, n_scored, n_held = count_states(ranks)
        ranges = [(0, None)] if n_samples > n_scored + n_held else []
    found: list[int] = []
    for first_pk, last_pk in ranges:
        query = next_unscored(
            ranks.scorer_id, ranks.dataset_id, limit - len(found), max(after_pk, first_pk - 1)
        )
        query = query if last_pk is None else query.where(samples.c.id <= last_pk)
        query = query if where is None else query.where(where)
        found += ranks.conn.execute(query).scalars()
        if len(found) == limit:
            break
    return found


def count_states(ranks: Ranks) -> tuple[int, int, int]:
    """Samples in all, scored, and quarantined without a score, at one moment."""
    in_all = select(sa.func.count()).select_from(samples).where(samples.c.dataset_id == ranks.dataset_id)
    held = select(sa.func.count()).select_from(quarantine)
    held = held.where(still_held(ranks.dataset_id, ranks.scorer_id))
    query = select(in_all.scalar_subquery(), ranks.total(), held.scalar_subquery())
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
