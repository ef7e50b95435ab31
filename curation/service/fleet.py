"""What is left to score and who is at it, asked of the ledger no oftener than every few seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from sqlalchemy import Engine

from curation.ledger.engine import reading
from curation.ledger.fleet import Backlog, Worker, backlogs, list_workers
from curation.ledger.targets import Target, list_targets

T = TypeVar("T")


class Cached(Generic[T]):
    """The answer to a question that costs the database something, asked anew after some seconds.

    One thread asks at a time. An error is no answer: it is raised, and the next caller asks again.
    """

    def __init__(self, ask: Callable[[], T], seconds: float) -> None:
        self._ask = ask
        self._seconds = seconds
        self._lock = threading.Lock()
        self._answer: tuple[float, T] | None = None

    def __call__(self) -> T:
        with self._lock:
            if self._answer is None or time.monotonic() >= self._answer[0]:
                answer = self._ask()
                self._answer = time.monotonic() + self._seconds, answer
            return self._answer[1]


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the ledger says at one moment."""

    backlogs: list[Backlog]
    workers: list[Worker]
    targets: list[Target]


def ask_fleet(engine: Engine) -> Fleet:
    with reading(engine) as conn:
        return Fleet(backlogs(conn), list_workers(conn), list_targets(conn))
