"""What the parent process of a worker does beside passing on messages: show itself, and never go deaf unnoticed.

It runs in the consumer's own loop, so a row in the ledger that stays fresh says that messages are being taken.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps
from celery.worker import state
from sqlalchemy import Engine

from curation.errors import LedgerError
from curation.ledger import backlog, fleet
from curation.ledger.engine import open_ledger, reading
from curation.settings import get_settings
from workers.app import RING_SECONDS
from workers.bells import PLATFORMS, platforms_due, queue_of, ring_all

DEAF_AFTER = 12
"""Times an idle worker may ring itself in vain before it ends, for its supervisor to start it afresh."""

log = logging.getLogger(__name__)


class Presence(bootsteps.StartStopStep):
    """Every few seconds: a sign of life, the queues of the scorers in service, and a bell if work waits."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def __init__(self, parent: Any, **kwargs: Any) -> None:
        super().__init__(parent, **kwargs)
        settings = get_settings()
        self._engine: Engine = open_ledger(settings.url, settings.home)
        self._platforms = parent.app.conf.task_default_queue == PLATFORMS
        self._timers: list[Any] = []
        self._served: set[int] = set()
        self._in_vain = 0
        self._heard = 0

    def start(self, parent: Any) -> None:
        self._served = set()  # after a lost connection the consumer is a new one, without our queues
        # The first look waits for the loop: a message that is in a queue of ours already comes as soon as we listen
        # to it, and until then nobody takes it.
        self._timers = [
            parent.timer.call_after(0, self._look, (parent,)),
            parent.timer.call_repeatedly(RING_SECONDS, self._look, (parent,)),
        ]

    def stop(self, parent: Any) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers = []

    def shutdown(self, parent: Any) -> None:
        try:
            fleet.forget_worker(self._engine, parent.hostname)
        except LedgerError as error:
            log.warning("%s", error.message)

    def _look(self, consumer: Any) -> None:
        try:
            fleet.show_worker(self._engine, consumer.hostname)
            if not self._platforms:
                self._serve(consumer)
            self._ring_if_idle(consumer)
        except LedgerError as error:
            log.warning("%s", error.message)

    def _serve(self, consumer: Any) -> None:
        """Listen to the queues of the scorers in service, and to no others."""
        with reading(self._engine) as conn:
            wanted = {scorer_id for scorer_id, *_ in fleet.scorers_in_service(conn)}
        for scorer_id in sorted(wanted - self._served):
            consumer.app.amqp.queues.add(queue_of(scorer_id))
            consumer.add_task_queue(queue_of(scorer_id).name)
        for scorer_id in sorted(self._served - wanted):
            consumer.cancel_task_queue(queue_of(scorer_id).name)
        self._served = wanted

    def _ring_if_idle(self, consumer: Any) -> None:
        """A worker without work looks for itself: no scheduler is needed, and none can be missed."""
        heard = sum(state.total_count.values())
        waits = self._waits() and not state.reserved_requests
        if not waits or heard != self._heard:
            self._in_vain, self._heard = 0, heard
        if not waits:
            return
        self._in_vain += 1
        ring_all(self._engine, consumer.app)
        if self._in_vain > DEAF_AFTER:
            log.error("work waits, but no message arrives: ending, to be started afresh")
            state.should_stop = 1

    def _waits(self) -> bool:
        """Whether there is something to do for workers of this kind."""
        if self._platforms:
            return bool(platforms_due(self._engine))
        with reading(self._engine) as conn:
            return bool(backlog.waiting_scorers(conn))
