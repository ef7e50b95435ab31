"""Answers that take long, kept for a while: a page that is loaded again and again must not keep the database busy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Generic, TypeVar

Q = TypeVar("Q", bound=Hashable)
A = TypeVar("A")

_SHARE = 20
"""An answer is kept so many times as long as it took, so that at most a twentieth of the time is spent on it."""

_KEPT = 64


@dataclass(frozen=True, slots=True)
class Dated(Generic[A]):
    """An answer and when it was found; `fresh_until` is a reading of the monotonic clock."""

    answer: A
    at: datetime
    fresh_until: float


class Remembered(Generic[Q, A]):
    """The answers to a question's variants. One is worked on at a time; an error is no answer, and is raised."""

    def __init__(self, ask: Callable[[Q], A]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._known: dict[Q, Dated[A]] = {}

    def __call__(self, question: Q) -> Dated[A]:
        return self._fresh(question) or self._find(question)

    def _fresh(self, question: Q) -> Dated[A] | None:
        found = self._known.get(question)
        return found if found and time.monotonic() < found.fresh_until else None

    def _find(self, question: Q) -> Dated[A]:
        with self._lock:
            if found := self._fresh(question):  # somebody else asked the same meanwhile
                return found
            at, start = datetime.now(UTC), time.monotonic()
            answer = self._ask(question)
            took = time.monotonic() - start
            found = Dated(answer, at, start + (1 + _SHARE) * took)
            self._known.pop(question, None)
            self._known[question] = found
            while len(self._known) > _KEPT:
                del self._known[next(iter(self._known))]
            return found
