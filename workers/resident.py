"""The scorers that a worker process keeps in memory: loaded once, let go when another one needs the room."""

from __future__ import annotations

import gc
import logging
import sys
import time
from typing import Any

import psutil
from sqlalchemy import Engine

from curation.errors import CurationError
from curation.ledger.engine import reading
from curation.ledger.scores import Scorer as StoredScorer
from curation.ledger.scores import scorer_by_id
from curation.reconcile.score import BatchScorer
from curation.settings import Settings

RETRY_SECONDS = 300.0
"""How long a scorer that could not be loaded is not tried again: loading is expensive, and ringing is not."""

_HEADROOM = 1.5
"""Memory that a model needs while it is loaded and scores, over that of its weights."""

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}

log = logging.getLogger(__name__)


def load_stored(stored: StoredScorer, settings: Settings) -> BatchScorer:
    """Load a scorer from what its card says it was loaded from. Raises CurationError if it is not the same."""
    from curation.sqsd.load import reload_scorer

    return reload_scorer(stored.card, stored.fingerprint, settings)


class Resident:
    """The scorers of this process, the most recently used last."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._settings = settings
        self._kept: dict[int, BatchScorer] = {}
        self._failed: dict[int, tuple[float, CurationError]] = {}

    def get(self, scorer_id: int) -> BatchScorer:
        """The scorer of that number in the ledger, from memory if it is there.

        Raises CurationError if it cannot be loaded here; the same again for some minutes.
        """
        if scorer_id in self._kept:
            self._kept[scorer_id] = scorer = self._kept.pop(scorer_id)
            return scorer
        if scorer_id in self._failed and time.monotonic() < self._failed[scorer_id][0]:
            raise self._failed[scorer_id][1]
        with reading(self._engine) as conn:
            stored = scorer_by_id(conn, scorer_id)
        self._make_room(_bytes_needed(stored.card))
        try:
            self._kept[scorer_id] = scorer = load_stored(stored, self._settings)
        except CurationError as error:
            self._failed[scorer_id] = (time.monotonic() + RETRY_SECONDS, error)
            raise
        return scorer

    def _make_room(self, needed: int) -> None:
        while self._kept and _bytes_free() < needed:
            oldest = next(iter(self._kept))
            log.info("scorer %d makes room for another", oldest)
            del self._kept[oldest]
            gc.collect()
            _empty_cache()


def device_name() -> str:
    """The device that this process scores on, once it has a scorer."""
    torch = sys.modules.get("torch")
    return torch.cuda.get_device_name() if torch and torch.cuda.is_available() else "CPU"


def _bytes_needed(card: dict[str, Any]) -> int:
    model = card.get("model", {})
    return int(model.get("parameters", 0) * _BYTES.get(model.get("dtype", ""), 4) * _HEADROOM)


def _bytes_free() -> int:
    """Free memory of the device that this process scores on."""
    import torch

    return torch.cuda.mem_get_info()[0] if torch.cuda.is_available() else psutil.virtual_memory().available


def _empty_cache() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.empty_cache()
