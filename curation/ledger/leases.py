"""Leases: who works on which range of a backlog, for how long, and what becomes of work that is lost.

A claim cuts a batch off a range and gives it a token and a time it runs out. Whoever comes first after that takes
it over under a new token, and a write with the old token changes nothing (fencing).

`attempts` counts claims since the last result was written, the present one included, and is raised before any
work is done. A range that was lost twice in a row is halved at every further claim; a single sample that was
lost twice goes to the quarantine.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, NamedTuple

import psutil
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, Row, select

from curation.ledger import clock
from curation.ledger.backlog import CLAIM_ORDER, has_samples, idle, new_range, newest_pk
from curation.ledger.engine import reading, writing
from curation.ledger.samples import StoredSample
from curation.ledger.scores import ScoreRow, insert_quarantine, insert_scores, untouched
from curation.ledger.tables import backlog, samples
from curation.samples.sample import Sample

BATCH_SAMPLES = 256
BATCH_CHARS = 400_000
"""Most samples and, beyond the first sample, most characters in a lease: about 100,000 tokens."""

MAX_LOSSES = 2
"""Claims in a row that may end without a result before the range is taken apart."""


class LeaseLost(Exception):  # noqa: N818 - an event, not a failure: somebody else goes on
    """The lease ran out and was taken over, or its scorer was retired: nothing was written."""


class Holder(NamedTuple):
    """The process that works on a lease, so that others on its host can tell whether it is still alive."""

    host: str
    pid: int


class Lease(NamedTuple):
    """A batch of samples of one dataset that one process may score until the lease runs out."""

    id: int
    token: str
    scorer_id: int
    dataset_id: int
    first_pk: int
    last_pk: int


def claim(
    engine: Engine, scorer_id: int, holder: Holder, seconds: float, dataset_id: int | None = None
) -> Lease | None:
    """Lease the next batch for so many seconds: the highest priority first, then what was begun before what is new.

    None if nothing is left, or what is left is leased to others. A sample that was lost alone twice is put in
    quarantine on the way.
    """
    while True:
        with writing(engine) as conn:
            row = _lock_next(conn, scorer_id, dataset_id)
            if row is None:
                return None
            lease = _take(conn, row, holder, seconds)
        if lease:
            return lease


def leased_samples(conn: Connection, lease: Lease) -> list[StoredSample]:
    """The samples of a lease that still have neither a score nor a place in quarantine."""
    query = (
        select(samples.c.id, samples.c.body)
        .where(samples.c.dataset_id == lease.dataset_id)
        .where(samples.c.id.between(lease.first_pk, lease.last_pk), untouched(lease.scorer_id))
        .order_by(samples.c.id)
    )
    return [StoredSample(pk, lease.dataset_id, Sample.from_json(body)) for pk, body in conn.execute(query)]


def renew(engine: Engine, lease: Lease, seconds: float) -> None:
    """Hold the lease for so many seconds from now. Raises LeaseLost."""
    with writing(engine) as conn:
        _fence(conn, lease, backlog.update().values(leased_until=clock.in_seconds(seconds)))


def write_results(
    engine: Engine,
    lease: Lease,
    scores: Sequence[ScoreRow],
    failures: Sequence[tuple[int, str]],
    seconds: float,
    *,
    done: bool,
) -> None:
    """Keep scores and failures, given as (sample, reason), all or none; then renew the lease or, `done`, end it.

    Raises LeaseLost, and keeps none, if the lease is no longer held.
    """
    progress: dict[str, Any] = {"leased_until": clock.in_seconds(seconds)}
    if scores or failures:
        progress |= {"attempts": 1, "last_error": None}
    with writing(engine) as conn:
        _fence(conn, lease, backlog.delete() if done else backlog.update().values(progress))
        insert_scores(conn, lease.scorer_id, scores)
        insert_quarantine(conn, lease.scorer_id, failures)


def give_back(engine: Engine, lease: Lease, error: str | None = None) -> None:
    """End a lease early, for others to go on at once; with an error (no sample text) it counts as lost."""
    freed: dict[str, Any] = {"token": None, "leased_until": None}
    freed |= {"attempts": backlog.c.attempts - 1} if error is None else {"last_error": error[:200]}
    with writing(engine) as conn:
        conn.execute(_held(backlog.update().values(freed), lease))


def free_stale_leases(engine: Engine, holder: Holder) -> int:
    """Let go of leases that nobody works on; returns how many there were.

    These are leases of this host's processes that have ended, and those of `holder` itself, which calls this
    while it works on none: they are from a claim whose answer it never saw, or from a process that had its
    number before it, as in a container. All count as lost.
    """
    leased = backlog.c.host == holder.host, backlog.c.token.is_not(None)
    with reading(engine) as conn:
        pids = conn.execute(select(backlog.c.pid).distinct().where(*leased)).scalars().all()
    stale = [pid for pid in pids if pid == holder.pid or not _alive(pid)]
    if not stale:
        return 0
    with writing(engine) as conn:
        freed = backlog.update().where(*leased, backlog.c.pid.in_(stale))
        return conn.execute(freed.values(token=None, leased_until=None)).rowcount


def _lock_next(conn: Connection, scorer_id: int, dataset_id: int | None) -> Row[Any] | None:
    """The idle range to take next, locked; SQLite has one writer at a time, who holds the lock already."""
    query = select(backlog).where(backlog.c.scorer_id == scorer_id, idle(), has_samples())
    if dataset_id is not None:
        query = query.where(backlog.c.dataset_id == dataset_id)
    query = query.order_by(*CLAIM_ORDER).limit(1)
    if conn.dialect.name == "postgresql":
        # A process that is frozen while it claims must not keep everyone else from their work.
        conn.execute(sa.text("SET LOCAL idle_in_transaction_session_timeout = '10s'"))
        if row := conn.execute(query.with_for_update(skip_locked=True)).one_or_none():
            return row
    # What is left may all be locked by others who are cutting batches off it: wait for the first of them.
    return conn.execute(query.with_for_update()).one_or_none()


def _take(conn: Connection, row: Row[Any], holder: Holder, seconds: float) -> Lease | None:
    """Lease the beginning of a locked range, or settle the range if there is nothing to lease."""
    # First the newest sample, then the search: what commits in between is left for the next claim.
    end: int = newest_pk(conn, row.dataset_id) if row.last_pk is None else row.last_pk
    found = _next_in(conn, row, end)
    suspect = row.attempts >= MAX_LOSSES
    if suspect and len(found) == 1:
        insert_quarantine(conn, row.scorer_id, [(found[0].id, _lost_reason(row))])
        found = []
    if not found:
        _settle(conn, row, end)
        return None
    taken = found[: (len(found) + 1) // 2] if suspect else _within_budget(found)
    attempts = 1 if suspect else row.attempts
    token = uuid.uuid4().hex
    leased = {"attempts": attempts + 1, "token": token, "host": holder.host, "pid": holder.pid}
    leased |= {"leased_until": clock.in_seconds(seconds)}
    this = backlog.update().where(backlog.c.id == row.id)
    if row.last_pk is not None and len(taken) == len(found):
        conn.execute(this.values(leased))
        return Lease(row.id, token, row.scorer_id, row.dataset_id, row.first_pk, row.last_pk)
    last_pk = int(taken[-1].id)
    rest = {"first_pk": last_pk + 1, "attempts": attempts, "token": None, "leased_until": None}
    conn.execute(this.values(rest))
    cut = new_range(row.scorer_id, row.dataset_id, row.first_pk, last_pk, row.priority)
    cut |= {"last_error": row.last_error, **leased}
    lease_id = conn.execute(backlog.insert().values(cut).returning(backlog.c.id)).scalar_one()
    return Lease(lease_id, token, row.scorer_id, row.dataset_id, row.first_pk, last_pk)


def _next_in(conn: Connection, row: Row[Any], end: int) -> Sequence[Row[Any, Any]]:
    """The next samples of a range, one more than fits in a batch."""
    query = (
        select(samples.c.id, samples.c.n_chars)
        .where(samples.c.dataset_id == row.dataset_id, samples.c.id.between(row.first_pk, end))
        .where(untouched(row.scorer_id))
        .order_by(samples.c.id)
        .limit(BATCH_SAMPLES + 1)
    )
    return conn.execute(query).all()


def _within_budget(found: Sequence[Row[Any, Any]]) -> Sequence[Row[Any, Any]]:
    """The first samples that fit in a batch, at least one."""
    chars = 0
    for i, sample in enumerate(found[:BATCH_SAMPLES]):
        chars += sample.n_chars
        if i and chars > BATCH_CHARS:
            return found[:i]
    return found[:BATCH_SAMPLES]


def _settle(conn: Connection, row: Row[Any], end: int) -> None:
    """Nothing is left in the range up to `end`."""
    this = backlog.c.id == row.id
    if row.last_pk is None:
        conn.execute(backlog.update().where(this).values(first_pk=end + 1))
    else:
        conn.execute(backlog.delete().where(this))


def _lost_reason(row: Row[Any]) -> str:
    if row.last_error:
        return f"scoring it failed {row.attempts} times in a row: {row.last_error}"
    return f"its worker died {row.attempts} times in a row while scoring it"


def _fence(conn: Connection, lease: Lease, statement: sa.Update | sa.Delete) -> None:
    if conn.execute(_held(statement, lease)).rowcount == 0:
        raise LeaseLost


def _held(statement: Any, lease: Lease) -> Any:
    return statement.where(backlog.c.id == lease.id, backlog.c.token == lease.token)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
