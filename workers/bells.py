"""Ringing: tell workers to look at the ledger, or at a labeling platform, without ever filling the broker."""

from __future__ import annotations

import logging

from celery import Celery
from kombu.entity import Exchange, Queue
from kombu.exceptions import OperationalError as KombuError
from sqlalchemy import Engine

from curation.errors import LedgerError
from curation.ledger import backlog, fleet, hooks
from curation.ledger.engine import reading
from curation.ledger.targets import Target, list_targets

SCORE = "score"
"""Name of the task that scores; its one argument is the number of a scorer in the ledger."""

PUSH, PULL = "push", "pull"
"""Names of the tasks that bring a target up to date, or its decisions in; their argument is its number."""

PLATFORMS = "platforms"
"""Queue of the workers that look after targets: waiting for a platform must not keep a GPU waiting."""

ANNOUNCE = "announce"
"""Name of the task that tells a hook of new risky samples; its argument is the hook's number."""

ANNOUNCE_SECONDS = 60.0
"""How often it is looked what a hook has to be told."""

PULL_SECONDS = 30.0
PUSH_SECONDS = 60.0
"""How often a target is looked at where no webhook rings for it."""

log = logging.getLogger(__name__)


def queue_of(scorer_id: int) -> Queue:
    """Every scorer has a queue of its own, so that a worker hears only of scorers that it can load."""
    name = f"score.{scorer_id}"
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


def ring(app: Celery, scorer_id: int, workers: int = 1) -> int:
    """Have up to `workers` workers look what is to score; returns how many messages that took.

    No more than that many messages ever wait in a scorer's queue, however often it is rung. Raises the broker's
    errors.
    """
    queue = queue_of(scorer_id)
    with app.connection_for_write() as connection, connection.channel() as channel:
        waiting = queue(channel).queue_declare().message_count
    missing = max(0, workers - waiting)
    for _ in range(missing):
        app.send_task(SCORE, args=[scorer_id], queue=queue, retry=False)
    return missing


def ring_all(engine: Engine, app: Celery) -> int:
    """Ring for every scorer with something to do, once for each worker alive, and for targets and hooks that are due.

    A doorbell: it never raises.

    Returns how many messages were sent.
    """
    try:
        with reading(engine) as conn:
            waiting = backlog.waiting_scorers(conn)
            alive = sum(worker.alive for worker in fleet.list_workers(conn)) if waiting else 0
        sent = sum(ring(app, scorer_id, max(1, alive)) for scorer_id in waiting)
        return sent + _ring_platforms(engine, app)
    except LedgerError as error:
        log.warning("could not look what is to do: %s", error.message)
    except (*_broker_errors(app), KombuError, OSError) as error:
        log.warning(
            "could not ring the workers: %s. They look by themselves once the broker is back.",
            type(error).__name__,
        )
    return 0


def due(target: Target) -> str | None:
    """Which task a target needs now, None if it needs none. A platform that failed is left in peace for a while."""
    if target.held:
        return None
    rested = target.since_look is None or target.since_look >= PULL_SECONDS
    if rested and (target.since_push is None or target.since_push >= PUSH_SECONDS):
        return PUSH
    return PULL if target.rung or rested else None


def targets_due(engine: Engine) -> list[tuple[str, int]]:
    """(task, number) of every target that is due, those moved to the front first."""
    with reading(engine) as conn:
        known = list_targets(conn)
    return [(task, target.id) for target in known if (task := due(target))]


def hooks_due(engine: Engine) -> list[tuple[str, int]]:
    """(task, number) of every hook that is due: a receiver that failed is left in peace for a while."""
    with reading(engine) as conn:
        known = hooks.list_hooks(conn)
    return [
        (ANNOUNCE, hook.id)
        for hook in known
        if not hook.held and (hook.waiting or hook.since_look is None or hook.since_look >= ANNOUNCE_SECONDS)
    ]


def platforms_due(engine: Engine) -> list[tuple[str, int]]:
    """(task, number) of all that workers of the queue `platforms` have to look at."""
    return targets_due(engine) + hooks_due(engine)


def _ring_platforms(engine: Engine, app: Celery) -> int:
    """No more messages wait than there are targets and hooks: where any waits, somebody has rung."""
    wanted = platforms_due(engine)
    if not wanted:
        return 0
    queue = Queue(PLATFORMS, Exchange(PLATFORMS, type="direct"), routing_key=PLATFORMS)
    with app.connection_for_write() as connection, connection.channel() as channel:
        if queue(channel).queue_declare().message_count:
            return 0
    for task, number in wanted:
        app.send_task(task, args=[number], queue=queue, retry=False)
    return len(wanted)


def _broker_errors(app: Celery) -> tuple[type[BaseException], ...]:
    connection = app.connection_for_write()
    return (*connection.connection_errors, *connection.channel_errors)
