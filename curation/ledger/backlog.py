"""What each scorer has yet to go through: ranges of samples, and which of them come first.

Per scorer and dataset there is one range without an end, which new samples fall into by themselves. Together the
ranges of a scorer cover whatever it has neither scored nor set aside in the datasets it is opened for, and they
never overlap. `leases` has what happens to a range that a worker takes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row, select

from curation.ledger import bulk, clock
from curation.ledger.engine import writing
from curation.ledger.planner import of_unknown_size
from curation.ledger.scores import still_held
from curation.ledger.tables import backlog, datasets, quarantine, samples, serving

CLAIM_ORDER = backlog.c.priority.desc(), backlog.c.last_pk.is_(None), backlog.c.id
"""What was begun before what is new, since under steady ingest the open end never ends. It is the order in which
ranges are taken, and in which they are locked by whoever locks several, so that nobody deadlocks."""


def open_backlog(
    engine: Engine, scorer_id: int, dataset_id: int | None = None, *, sweep: bool = False
) -> None:
    """Make sure that a dataset's samples, or those of all datasets, are in the scorer's backlog.

    With `sweep`, also give a range to whatever has none, should anything have got lost.
    """
    wanted = sa.true() if dataset_id is None else datasets.c.id == dataset_id
    with writing(engine) as conn:
        _open_ends(conn, select(sa.literal(scorer_id), datasets.c.id).where(wanted))
        if sweep and (gaps := _gaps(_lock_ranges(conn, scorer_id, dataset_id))):
            conn.execute(backlog.insert(), gaps)


def move_to_front(engine: Engine, dataset_id: int, after_pk: int = 0) -> None:
    """Let every scorer take a dataset's samples that came after a given one before anything else.

    Only samples that are in the ledger now; those still to come wait their turn.
    """
    with writing(engine) as conn:
        newest = newest_pk(conn, dataset_id)
        front = 1 + (conn.execute(select(sa.func.max(backlog.c.priority))).scalar_one() or 0)
        here = backlog.c.dataset_id == dataset_id, backlog.c.first_pk <= newest, idle()
        for row in conn.execute(select(backlog).where(*here).order_by(*CLAIM_ORDER).with_for_update()).all():
            _split_for_front(conn, row, after_pk, newest, front)


def pk_before_newest(conn: Connection, dataset_id: int, n: int) -> int:
    """The sample after which a dataset's newest `n` samples come; 0 if it has no more than these."""
    newest = select(samples.c.id).where(samples.c.dataset_id == dataset_id).order_by(samples.c.id.desc())
    return conn.execute(newest.offset(n).limit(1)).scalar_one_or_none() or 0


def open_for_service(engine: Engine) -> None:
    """Make sure that every dataset is in the backlog of every scorer in service."""
    pairs = select(serving.c.scorer_id, datasets.c.id).join_from(serving, datasets, sa.true())
    with writing(engine) as conn:
        _open_ends(conn, pairs.where(_no_open_end()))


def waiting_scorers(conn: Connection) -> list[int]:
    """Scorers in service that have something a worker could claim now, or a range still to be searched."""
    claimable = sa.exists().where(backlog.c.scorer_id == serving.c.scorer_id, idle(), has_samples())
    new_dataset = sa.exists().where(samples.c.dataset_id == datasets.c.id, _no_open_end())
    query = select(serving.c.scorer_id).where(sa.or_(claimable, new_dataset.correlate(serving)))
    return list(conn.execute(query.order_by(serving.c.scorer_id)).scalars())


def backlog_ranges(conn: Connection, scorer_id: int, dataset_id: int) -> list[tuple[int, int | None]]:
    """(first sample, last sample or None) of the ranges of a dataset that a scorer has yet to go through, by place."""
    here = backlog.c.scorer_id == scorer_id, backlog.c.dataset_id == dataset_id
    query = select(backlog.c.first_pk, backlog.c.last_pk).where(*here).order_by(backlog.c.first_pk)
    return [(first_pk, last_pk) for first_pk, last_pk in conn.execute(query)]


def take_from_service(engine: Engine, scorer_id: int) -> None:
    """Retire a scorer: its backlog is dropped, leases included, and its scores stay."""
    with writing(engine) as conn:
        conn.execute(serving.delete().where(serving.c.scorer_id == scorer_id))
        _lock_ranges(conn, scorer_id)
        conn.execute(backlog.delete().where(backlog.c.scorer_id == scorer_id))


def put_in_service(engine: Engine, scorer_id: int) -> None:
    """Have the fleet score every sample by this scorer, those still to come included."""
    with writing(engine) as conn:
        conn.execute(bulk.insert(conn, serving).values(scorer_id=scorer_id).on_conflict_do_nothing())
    open_backlog(engine, scorer_id, sweep=True)


def release(engine: Engine, scorer_id: int, dataset_id: int) -> int:
    """Let a dataset's quarantined samples be scored again; returns how many there were."""
    held = still_held(dataset_id, scorer_id)
    here = backlog.c.scorer_id == scorer_id, backlog.c.dataset_id == dataset_id
    around = sa.and_(*here, quarantine.c.sample_id.between(backlog.c.first_pk, backlog.c.last_pk))
    passed = sa.and_(*here, backlog.c.last_pk.is_(None), backlog.c.first_pk > quarantine.c.sample_id)
    with writing(engine) as conn:
        _lock_ranges(conn, scorer_id, dataset_id)
        # Whoever holds a lease around them does not know that they are in it, and would end it without them.
        leased = backlog.c.token.is_not(None), sa.exists(select(quarantine).where(held, around))
        freed = {"token": None, "leased_until": None, "attempts": backlog.c.attempts - 1}
        conn.execute(backlog.update().where(*leased).values(freed))
        alone = ~sa.exists(select(backlog).where(around)), sa.exists(select(backlog).where(passed))
        pks = conn.execute(select(quarantine.c.sample_id).where(held, *alone)).scalars().all()
        _add_ranges(conn, scorer_id, dataset_id, pks)
        return conn.execute(quarantine.delete().where(held)).rowcount


def _open_ends(conn: Connection, pairs: sa.Select[int, int]) -> None:
    """A range from the first sample on, without an end, for those of the (scorer, dataset) pairs that have none."""
    columns = ["scorer_id", "dataset_id", "first_pk", "priority", "attempts"]
    new = bulk.insert(conn, backlog).from_select(columns, pairs.add_columns(*[sa.literal(0)] * 3))
    key, where = ["scorer_id", "dataset_id"], sa.text("last_pk IS NULL")
    conn.execute(new.on_conflict_do_nothing(index_elements=key, index_where=where))


def _add_ranges(conn: Connection, scorer_id: int, dataset_id: int, pks: Iterable[int]) -> None:
    """Put single samples back in a backlog, neighbours as one range."""
    ranges: list[list[int]] = []
    for pk in sorted(pks):
        if ranges and ranges[-1][1] == pk - 1:
            ranges[-1][1] = pk
        else:
            ranges.append([pk, pk])
    rows = [new_range(scorer_id, dataset_id, first, last) for first, last in ranges]
    if rows:
        conn.execute(backlog.insert(), rows)


def _lock_ranges(conn: Connection, scorer_id: int, dataset_id: int | None = None) -> Sequence[Row[Any]]:
    """A scorer's ranges by dataset and place; nobody claims, writes or renews until the transaction ends."""
    query = select(backlog).where(backlog.c.scorer_id == scorer_id)
    if dataset_id is not None:
        query = query.where(backlog.c.dataset_id == dataset_id)
    conn.execute(query.order_by(*CLAIM_ORDER).with_for_update())
    # Asked again: a claim that held one of them until now may have cut another one off it.
    return conn.execute(query.order_by(backlog.c.dataset_id, backlog.c.first_pk)).all()


def _gaps(rows: Iterable[Row[Any]]) -> list[dict[str, Any]]:
    """Ranges for what lies between the given ones, from the first sample of a dataset to its open end."""
    gaps: list[dict[str, Any]] = []
    for _, ranges in groupby(rows, key=attrgetter("dataset_id")):
        first_pk = 0
        for row in ranges:  # the open end comes last
            if first_pk < row.first_pk:
                gaps.append(new_range(row.scorer_id, row.dataset_id, first_pk, row.first_pk - 1))
            first_pk = (row.last_pk or row.first_pk) + 1
    return gaps


def idle() -> sa.ColumnElement[bool]:
    return sa.or_(backlog.c.token.is_(None), backlog.c.leased_until < clock.in_seconds(0.0))


def _no_open_end() -> sa.ColumnElement[bool]:
    """Condition on a scorer in service and a dataset: the scorer has not been told of the dataset yet."""
    here = backlog.c.scorer_id == serving.c.scorer_id, backlog.c.dataset_id == datasets.c.id
    return ~sa.exists().where(*here, backlog.c.last_pk.is_(None)).correlate(serving, datasets)


def has_samples() -> sa.ColumnElement[bool]:
    """Condition on ranges: something is in them, if only samples that turn out to have a score."""
    newest = select(sa.func.max(samples.c.id)).where(samples.c.dataset_id == backlog.c.dataset_id)
    return sa.or_(backlog.c.last_pk.is_not(None), backlog.c.first_pk <= newest.scalar_subquery())


def _split_for_front(conn: Connection, row: Row[Any], after_pk: int, newest: int, front: int) -> None:
    """Cut the samples in (after_pk, newest] out of an idle range and give them the front priority."""
    first = max(row.first_pk, after_pk + 1)
    last = newest if row.last_pk is None else min(row.last_pk, newest)
    if first > last:
        return
    kept = {"attempts": row.attempts, "last_error": row.last_error}
    pieces = [new_range(row.scorer_id, row.dataset_id, first, last, front) | kept]
    if row.first_pk < first:
        pieces.append(new_range(row.scorer_id, row.dataset_id, row.first_pk, first - 1, row.priority) | kept)
    if row.last_pk is None:
        opened = {"first_pk": last + 1, "attempts": 0, "last_error": None}
        conn.execute(backlog.update().where(backlog.c.id == row.id).values(opened))
    else:
        conn.execute(backlog.delete().where(backlog.c.id == row.id))
    conn.execute(backlog.insert(), pieces)


def new_range(
    scorer_id: int, dataset_id: int, first_pk: int, last_pk: int, priority: int = 0
) -> dict[str, Any]:
    return {
        "scorer_id": scorer_id,
        "dataset_id": dataset_id,
        "first_pk": first_pk,
        "last_pk": last_pk,
        "priority": priority,
        "attempts": 0,
    }


def newest_pk(conn: Connection, dataset_id: int) -> int:
    """The dataset's newest sample; within a dataset, samples are numbered in the order of their commits."""
    here = samples.c.dataset_id == of_unknown_size(dataset_id)
    return conn.execute(select(sa.func.max(samples.c.id)).where(here)).scalar_one() or 0
