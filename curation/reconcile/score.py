"""The score reconciler: every sample in a scorer's backlog gets a score, or a reason why it has none.

Level-triggered and idempotent: it leases what the ledger lacks, works, commits as it goes, and can be killed at
any point and run again, in one process or in many. No transaction is open while the model works.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import stamina
from sqlalchemy import Engine

from curation.errors import LedgerError, LedgerUnavailable
from curation.ledger import backlog, leases
from curation.ledger.engine import reading
from curation.ledger.leases import Holder, Lease, LeaseLost
from curation.ledger.scores import ScoreRow, register_scorer
from curation.samples.sample import Sample
from curation.sqsd.score import Score, Scored

if TYPE_CHECKING:
    from curation.sqsd.scorer import Scorer

LEASE_SECONDS = 120.0
"""How long a process may be silent before others take over what it holds. It renews three times in that time."""

DATABASE_PATIENCE = 60.0
"""Seconds for which results wait for a database that is away, so that a restart costs no work."""

COMMIT_SECONDS = 1.0
"""Results are kept together for so long: a commit for every batch would cost a GPU several percent."""

_VALUES = [field.name for field in fields(Score)]  # asdict copies deeply, which takes ten times as long

log = logging.getLogger(__name__)


class BatchScorer(Protocol):
    """What the reconciler needs of a scorer."""

    def score_batches(self, samples: Iterable[Sample]) -> Iterator[list[Scored]]: ...


def score_dataset(
    engine: Engine,
    scorer: Scorer,
    dataset_id: int,
    on_batch: Callable[[list[Scored]], None] = lambda _: None,
) -> int:
    """Score what the dataset lacks; returns the scorer's number in the ledger. `on_batch` follows each batch."""
    scorer_id = register_scorer(engine, scorer.fingerprint, scorer.card)
    backlog.open_backlog(engine, scorer_id, dataset_id, sweep=True)
    with closing(score_backlog(engine, scorer, scorer_id, dataset_id=dataset_id)) as batches:
        for batch in batches:
            on_batch(batch)
    return scorer_id


def score_backlog(
    engine: Engine,
    scorer: BatchScorer,
    scorer_id: int,
    *,
    dataset_id: int | None = None,
    lease_seconds: float = LEASE_SECONDS,
) -> Generator[list[Scored]]:
    """Claim and score until nothing is left to claim; yields each batch, not always committed yet.

    Closing the generator, or an exception from it, commits what is scored and gives the lease back.
    """
    holder = Holder(platform.node(), os.getpid())
    leases.free_stale_leases(engine, holder)
    while lease := leases.claim(engine, scorer_id, holder, lease_seconds, dataset_id):
        try:
            with _kept_alive(engine, lease, lease_seconds):
                yield from _score_lease(engine, scorer, lease, lease_seconds)
        except LeaseLost:
            log.warning("lost the lease on a batch; somebody else goes on with it")
        except LedgerError:
            raise
        except Exception as error:
            if _accelerator_broken(error):
                raise
            # The claims that follow take the batch apart until the sample that does this is alone.
            log.warning("scoring a batch failed: %s", _what_and_where(error))


def _score_lease(
    engine: Engine, scorer: BatchScorer, lease: Lease, seconds: float
) -> Generator[list[Scored]]:
    """Score the samples of one lease and commit them about once a second."""
    with reading(engine) as conn:
        stored = leases.leased_samples(conn, lease)
    pks = {row.sample.id: row.pk for row in stored}
    ready: list[Scored] = []
    last_commit = time.monotonic()

    def commit(*, done: bool) -> None:
        found = [(pks[r.sample.id], r) for r in ready]
        scores = [
            ScoreRow(pk, lease.dataset_id, **{name: getattr(r.score, name) for name in _VALUES})
            for pk, r in found
            if r.score is not None
        ]
        failures = [(pk, r.failure or "unknown") for pk, r in found if r.score is None]
        # Writing twice is harmless. If the first answer was lost and the lease was done, it is no longer held.
        for attempt in stamina.retry_context(on=LedgerUnavailable, timeout=DATABASE_PATIENCE, attempts=None):
            with attempt:
                leases.write_results(engine, lease, scores, failures, seconds, done=done)
        ready.clear()

    try:
        for batch in scorer.score_batches(row.sample for row in stored):
            ready += batch
            if time.monotonic() - last_commit >= COMMIT_SECONDS:
                commit(done=False)
                last_commit = time.monotonic()
            yield batch
        commit(done=True)
    except (LeaseLost, LedgerError):
        raise  # nothing can be written now; the lease runs out by itself
    except BaseException as stop:
        with suppress(LeaseLost):  # it must not take the place of what stops this run
            if ready:
                commit(done=False)
            leases.give_back(engine, lease, _what_and_where(stop) if isinstance(stop, Exception) else None)
        raise


@contextmanager
def _kept_alive(engine: Engine, lease: Lease, seconds: float) -> Generator[None]:
    """Renew the lease from a thread of its own: one batch of a large model may take longer than a lease."""
    over = threading.Event()

    def renew() -> None:
        while not over.wait(seconds / 3):
            try:
                leases.renew(engine, lease, seconds)
            except LeaseLost:
                return  # the next write finds out
            except LedgerError as error:
                log.warning("could not renew a lease: %s", error.message)

    thread = threading.Thread(target=renew, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _accelerator_broken(error: Exception) -> bool:
    """After such an error nothing works on that device any more, in this process."""
    return type(error).__name__ == "AcceleratorError" or "CUDA error" in str(error)


def _what_and_where(error: BaseException) -> str:
    """The error without its message, which may quote the sample."""
    frame = error.__traceback__
    while frame and frame.tb_next:
        frame = frame.tb_next
    place = f" at {Path(frame.tb_frame.f_code.co_filename).name}:{frame.tb_lineno}" if frame else ""
    return type(error).__name__ + place
