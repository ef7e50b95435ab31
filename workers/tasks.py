"""The tasks. They run in the process that owns the model, and take ids only."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

from celery import Task, shared_task
from sqlalchemy import Engine

from curation.errors import CurationError, LedgerError, PlatformError
from curation.ledger import backlog, fleet
from curation.ledger.engine import open_ledger
from curation.reconcile.announce import announce as announce_to
from curation.reconcile.score import score_backlog
from curation.reconcile.sync import pull_target, sync_target
from curation.settings import Settings, get_settings
from workers.app import SLICE_SECONDS
from workers.bells import ANNOUNCE, PULL, PUSH, SCORE, ring_all
from workers.meter import Meter
from workers.resident import Resident, device_name

SHOW_SECONDS = 5.0
"""How often a working process shows its rate."""

log = logging.getLogger(__name__)
_meter = Meter()


@shared_task(name=SCORE, bind=True)
def score(self: Task[Any, Any], scorer_id: int) -> None:
    """Score for a while what one scorer has yet to score, then ring again for whoever has something left."""
    worker = self.request.hostname or ""
    try:
        _score_slice(worker, scorer_id)
    except LedgerError as error:
        log.warning("%s", error.message)  # whoever looks next rings again
        return
    except CurationError as error:
        log.error("cannot score with scorer %d: %s %s", scorer_id, error.message, error.hint)
        fleet.show_worker(engine(), worker, trouble=error.message)
        return
    except Exception as error:
        # The device is of no more use to this process; the pool starts another one. No traceback: it may quote.
        log.error("this process can score no more: %s", type(error).__name__)
        os._exit(1)
    ring_all(engine(), self.app)


@shared_task(name=PUSH, bind=True)
def push(self: Task[Any, Any], target_id: int) -> None:
    """Bring one target up to date: decisions in, then samples and their order out."""
    with _platform_work(self):
        sync_target(engine(), target_id, settings())


@shared_task(name=PULL, bind=True)
def pull(self: Task[Any, Any], target_id: int) -> None:
    """Bring one target's decisions in."""
    with _platform_work(self):
        pull_target(engine(), target_id, settings())


@shared_task(name=ANNOUNCE, bind=True)
def announce(self: Task[Any, Any], hook_id: int) -> None:
    """Tell one hook of the risky samples it was not told of yet."""
    with _platform_work(self):
        announce_to(engine(), hook_id, settings())


@contextmanager
def _platform_work(task: Task[Any, Any]) -> Generator[None]:
    """What fails is noted at the target or hook and tried again at a later look."""
    worker = task.request.hostname or ""
    try:
        fleet.show_worker(engine(), worker, device="labeling platforms", trouble=None)
        yield
    except (LedgerError, PlatformError) as error:
        log.warning("%s", error.message)
    except CurationError as error:
        log.error("%s %s", error.message, error.hint)
        fleet.show_worker(engine(), worker, trouble=error.message)
    except Exception as error:  # no traceback: it may quote
        log.error("a look at a labeling platform failed: %s", type(error).__name__)


def _score_slice(worker: str, scorer_id: int) -> None:
    scorer = resident().get(scorer_id)
    fleet.show_worker(engine(), worker, scorer_id=scorer_id, device=device_name(), trouble=None)
    backlog.open_for_service(engine())
    start = last_shown = time.monotonic()
    _meter.start()
    with closing(
        score_backlog(engine(), scorer, scorer_id, lease_seconds=settings().lease_seconds)
    ) as batches:
        for batch in batches:
            _meter.add(len(batch))
            now = time.monotonic()
            if now - last_shown > SHOW_SECONDS:
                last_shown = now
                fleet.show_worker(engine(), worker, samples_per_second=_meter.rate())
            if now - start > SLICE_SECONDS:
                break
    fleet.show_worker(engine(), worker, samples_per_second=_meter.rate())


@cache
def settings() -> Settings:
    return get_settings()


@cache
def engine() -> Engine:
    """This process's own connections: none of them comes from its parent."""
    return open_ledger(settings().url, settings().home)


@cache
def resident() -> Resident:
    return Resident(engine(), settings())
