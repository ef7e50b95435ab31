"""The fleet as the ledger sees it: scorers in service, what is left to score, who is at work and how fast.

Everything is counted when asked for. What is left is counted along the ranges of the backlog, so that it costs
what is left to score and not what has been scored.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from curation.ledger import bulk, clock
from curation.ledger.engine import writing
from curation.ledger.scores import Scorer, still_held, untouched
from curation.ledger.tables import backlog, datasets, samples, scorers, serving, tallies, workers

ALIVE_SECONDS = 60.0
"""A worker that has not been seen for so long counts as gone."""


@dataclass(frozen=True, slots=True)
class Backlog:
    """One dataset under one scorer. `leases` and `overdue` count ranges; `overdue` ones ran out unfinished.

    `oldest_age` is how long the longest waiting sample has been in the ledger, in seconds; None: none waits.
    """

    scorer_id: int
    fingerprint: str
    dataset_id: int
    dataset: str
    in_service: bool
    unscored: int
    quarantined: int
    oldest_age: float | None
    leases: int
    overdue: int


@dataclass(frozen=True, slots=True)
class ListedScorer:
    """A scorer in short; `since` is when it was put in service, None if it is not."""

    id: int
    fingerprint: str
    model: str
    metric: str
    device: str
    created_at: datetime
    since: datetime | None


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it last showed itself. `trouble`: why it cannot do what it was rung for."""

    name: str
    device: str | None
    fingerprint: str | None
    samples_per_second: float | None
    trouble: str | None
    started_at: datetime
    silent: float

    @property
    def alive(self) -> bool:
        return self.silent < ALIVE_SECONDS


def backlogs(conn: Connection) -> list[Backlog]:
    """What is left for every scorer in service, and for others that somebody is scoring with at the moment."""
    served = sa.exists().where(serving.c.scorer_id == scorers.c.id)
    at_work = sa.exists().where(backlog.c.scorer_id == scorers.c.id, backlog.c.token.is_not(None))
    pairs = (
        select(scorers.c.id, scorers.c.fingerprint, datasets.c.id, datasets.c.name, served)
        .join_from(scorers, datasets, sa.true())
        .where(sa.or_(served, at_work))
        .order_by(scorers.c.id, datasets.c.name)
    )
    found: list[Backlog] = []
    for scorer_id, fingerprint, dataset_id, name, in_service in conn.execute(pairs).all():
        unscored, oldest_age = _left(conn, scorer_id, dataset_id, bool(in_service))
        held = select(sa.func.count()).where(still_held(dataset_id, scorer_id))
        quarantined = conn.execute(held).scalar_one()
        live, overdue = _leases(conn, scorer_id, dataset_id)
        found.append(
            Backlog(
                scorer_id, fingerprint, dataset_id, name, bool(in_service), unscored, quarantined,
                oldest_age, live, overdue,
            )
        )  # fmt: skip
    return found


def _left(conn: Connection, scorer_id: int, dataset_id: int, in_service: bool) -> tuple[int, float | None]:
    """How many samples wait for a score, and since how many seconds the first of them."""
    here = backlog.c.scorer_id == scorer_id, backlog.c.dataset_id == dataset_id
    in_range = sa.and_(
        samples.c.dataset_id == backlog.c.dataset_id,
        samples.c.id >= backlog.c.first_pk,
        sa.or_(backlog.c.last_pk.is_(None), samples.c.id <= backlog.c.last_pk),
    )
    waiting = select(sa.func.count(), sa.func.min(samples.c.first_seen)).where(untouched(scorer_id))
    told = conn.execute(select(sa.exists().where(*here, backlog.c.last_pk.is_(None)))).scalar_one()
    if told or not in_service:
        waiting = waiting.select_from(backlog.join(samples, in_range)).where(*here)
    else:  # a dataset so new that no worker has looked at it yet
        waiting = waiting.select_from(samples).where(samples.c.dataset_id == dataset_id)
    unscored, oldest = conn.execute(waiting).one()
    age = select(clock.seconds_since(sa.literal(oldest, samples.c.first_seen.type)))
    return unscored, conn.execute(age).scalar() if unscored else None


def _leases(conn: Connection, scorer_id: int, dataset_id: int) -> tuple[int, int]:
    """How many leases are live, and how many ran out unfinished."""
    overdue = sa.func.count().filter(backlog.c.leased_until < clock.in_seconds(0.0))
    query = select(sa.func.count(backlog.c.token), overdue)
    leased, late = conn.execute(
        query.where(backlog.c.scorer_id == scorer_id, backlog.c.dataset_id == dataset_id)
    ).one()
    return leased - late, late


def scorers_in_service(conn: Connection) -> list[tuple[int, str, dict[str, Any]]]:
    """(number, fingerprint, card) of the scorers that the fleet scores everything with, oldest first."""
    query = select(scorers.c.id, scorers.c.fingerprint, scorers.c.card).join(serving)
    rows = conn.execute(query.order_by(scorers.c.id))
    return [(scorer_id, fingerprint, json.loads(card)) for scorer_id, fingerprint, card in rows]


def list_scorers(conn: Connection) -> list[ListedScorer]:
    """All scorers, oldest first."""
    found: list[ListedScorer] = []
    for scorer, since in known_scorers(conn):
        model = scorer.card.get("model", {})
        told = model.get("name", "?"), scorer.card.get("metric", "?"), model.get("device", "?")
        found.append(ListedScorer(scorer.id, scorer.fingerprint, *told, scorer.created_at, since))
    return found


def known_scorers(conn: Connection) -> list[tuple[Scorer, datetime | None]]:
    """All scorers with their cards, oldest first, and since when each is in service, None if it is not."""
    query = select(scorers, serving.c.since).join(serving, isouter=True).order_by(scorers.c.id)
    return [
        (Scorer(row.id, row.fingerprint, json.loads(row.card), row.created_at), row.since)
        for row in conn.execute(query)
    ]


def score_counts(conn: Connection) -> dict[int, dict[str, int]]:
    """By scorer: the datasets it has scored anything of, by name, and how many samples of each."""
    query = (
        select(tallies.c.scorer_id, datasets.c.name, sa.func.sum(tallies.c.n))
        .join_from(tallies, datasets)
        .group_by(tallies.c.scorer_id, datasets.c.name)
        .order_by(datasets.c.name)
    )
    found: dict[int, dict[str, int]] = {}
    for scorer_id, name, n in conn.execute(query):
        found.setdefault(scorer_id, {})[name] = int(n)
    return found


def left_by_scorer(left: list[Backlog]) -> dict[str, int]:
    """Samples without a score over all datasets, by scorer fingerprint."""
    unscored: dict[str, int] = {}
    for each in left:
        unscored[each.fingerprint] = unscored.get(each.fingerprint, 0) + each.unscored
    return unscored


def rates(workers: list[Worker]) -> dict[str, float]:
    """Samples per second that the workers alive score together, by scorer fingerprint."""
    found: dict[str, float] = {}
    for worker in workers:
        if worker.alive and worker.fingerprint:
            rate = worker.samples_per_second or 0.0
            found[worker.fingerprint] = found.get(worker.fingerprint, 0.0) + rate
    return found


def seconds_left(left: list[Backlog], workers: list[Worker]) -> dict[int, float]:
    """For each scorer that somebody alive is scoring with: how long its backlog takes at the present rate."""
    unscored, speed = left_by_scorer(left), rates(workers)
    return {
        each.scorer_id: unscored[each.fingerprint] / speed[each.fingerprint]
        for each in left
        if speed.get(each.fingerprint)
    }


def list_workers(conn: Connection) -> list[Worker]:
    """All workers that have shown themselves, the most recent first."""
    silent = clock.seconds_since(workers.c.seen_at)
    query = (
        select(
            workers.c.name, workers.c.device, scorers.c.fingerprint, workers.c.samples_per_second,
            workers.c.trouble, workers.c.started_at, silent,
        )
        .join_from(workers, scorers, isouter=True)
        .order_by(workers.c.seen_at.desc(), workers.c.name)
    )  # fmt: skip
    return [Worker(*row) for row in conn.execute(query)]


def show_worker(engine: Engine, name: str, **fields: Any) -> None:
    """A sign of life from a worker, with what has changed: device, scorer_id, samples_per_second, trouble."""
    with writing(engine) as conn:
        new = bulk.insert(conn, workers).values(name=name, seen_at=clock.in_seconds(0.0), **fields)
        seen = {"seen_at": clock.in_seconds(0.0), **fields}
        conn.execute(new.on_conflict_do_update(index_elements=["name"], set_=seen))


def forget_worker(engine: Engine, name: str) -> None:
    """A worker that ends in an orderly way is no longer listed."""
    with writing(engine) as conn:
        conn.execute(workers.delete().where(workers.c.name == name))
