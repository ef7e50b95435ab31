"""A fast scorer that stands in for a model in worker processes, and does what its samples tell it to.

It needs no torch, so a killed worker is back within a second or two. The risk is a hash of the sample: the same
wherever and however often it is computed.
"""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from itertools import islice

import workers.resident
from curation.ledger.scores import Scorer as StoredScorer
from curation.samples.sample import Sample
from curation.settings import Settings
from curation.sqsd.score import Score, Scored

ABORT = "this one aborts the process"
NOT_A_NUMBER = "this one has no finite loss"
RAISE = "this one raises"
TOO_LARGE = "this one needs more memory than there is"

_MEMORY_CAP = 8 * 2**30


class StubScorer:
    """Batches of `batch` samples, each of which takes `seconds`."""

    def __init__(self, batch: int, seconds: float) -> None:
        self.batch = batch
        self.seconds = seconds

    def score_batches(self, samples: Iterable[Sample]) -> Iterator[list[Scored]]:
        stream = iter(samples)
        while batch := list(islice(stream, self.batch)):
            time.sleep(self.seconds)
            yield [_scored(sample) for sample in batch]


def _scored(sample: Sample) -> Scored:
    if ABORT in sample.answer:
        os.kill(os.getpid(), signal.SIGABRT)
    if TOO_LARGE in sample.answer:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_CAP, _MEMORY_CAP))
        bytearray(2 * _MEMORY_CAP)
    if RAISE in sample.answer:
        raise ValueError(sample.answer)
    if NOT_A_NUMBER in sample.answer:
        return Scored(sample, None, "the score is not a finite number")
    return Scored(sample, Score(risk(sample.id), risk(sample.id), 0.0, 1.0, 1.0, 10, 5, False))


def risk(sample_id: str) -> float:
    """The stub's score of a sample, -1 to 1."""
    return int(hashlib.sha256(sample_id.encode()).hexdigest()[:8], 16) / 2**31 - 1


def load(stored: StoredScorer, settings: Settings) -> StubScorer:
    return StubScorer(**stored.card["stub"])


def install() -> None:
    """Have this process's workers load the stub. Celery imports this module in the spawned process too."""
    workers.resident.load_stored = load  # type: ignore[assignment]


install()
