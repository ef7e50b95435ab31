"""The clock: rings whoever has something to do, looking at the ledger and the queue before it adds a message.

Any number of schedulers may run at once: a bell that has been rung is not rung again.
"""

from __future__ import annotations

import logging
from typing import Any

from celery.beat import ScheduleEntry, Scheduler
from sqlalchemy import Engine

from curation.errors import LedgerError
from curation.ledger import backlog, fleet
from curation.ledger.engine import open_ledger, reading
from curation.settings import get_settings
from workers.app import RING_SECONDS
from workers.bells import SCORE, ring_all

SWEEP = "sweep"
SWEEP_SECONDS = 3600.0
"""How often everything is searched for samples that nobody has a range for. None is known to get lost."""

log = logging.getLogger(__name__)


class BellScheduler(Scheduler):
    """Celery's scheduler, whose entries are looks at the ledger instead of messages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        settings = get_settings()
        self._engine: Engine = open_ledger(settings.url, settings.home)
        super().__init__(*args, **kwargs)

    def setup_schedule(self) -> None:
        self.update_from_dict(
            {
                SCORE: {"task": SCORE, "schedule": RING_SECONDS},
                SWEEP: {"task": SWEEP, "schedule": SWEEP_SECONDS},
            }
        )

    def apply_entry(self, entry: ScheduleEntry, producer: Any = None) -> None:
        if entry.task == SCORE:
            ring_all(self._engine, self.app)
        else:
            self._sweep()

    def _sweep(self) -> None:
        try:
            with reading(self._engine) as conn:
                served = fleet.scorers_in_service(conn)
            for scorer_id, *_ in served:
                backlog.open_backlog(self._engine, scorer_id, sweep=True)
        except LedgerError as error:
            log.warning("%s", error.message)
