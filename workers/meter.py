"""How fast a process scores, over its last minute at work."""

from __future__ import annotations

import time
from collections import deque

WINDOW_SECONDS = 60.0


class Meter:
    """Samples per second. Time between slices of work does not count, nor does loading a model."""

    def __init__(self) -> None:
        self._batches: deque[tuple[float, int]] = deque()
        self._last = time.monotonic()

    def start(self) -> None:
        """A slice of work begins."""
        self._last = time.monotonic()

    def add(self, samples: int) -> None:
        """So many samples were scored since the last call."""
        now = time.monotonic()
        self._batches.append((now - self._last, samples))
        self._last = now
        while len(self._batches) > 1 and self._seconds() - self._batches[0][0] > WINDOW_SECONDS:
            self._batches.popleft()

    def rate(self) -> float | None:
        """Samples per second; None before the first batch."""
        seconds = self._seconds()
        return sum(n for _, n in self._batches) / seconds if seconds else None

    def _seconds(self) -> float:
        return sum(seconds for seconds, _ in self._batches)
