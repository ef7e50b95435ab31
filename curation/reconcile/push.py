"""The push reconciler: a target shows the samples to review next, in the order of the current scores.

It pulls first. So it knows every item that the platform holds, also one whose creation was asked for by a process that
never heard the answer, and makes no second one. Killed at any point, the next push goes on from what is there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import orjson
from numpy.typing import NDArray
from sqlalchemy import Engine

from curation.errors import PlatformError, PlatformUnavailable
from curation.ledger import clock
from curation.ledger.engine import reading, writing
from curation.ledger.exports import risks_on_lines
from curation.ledger.items import (
    NewItem,
    PlacedItem,
    Scored,
    live_items,
    mark_gone,
    mark_shown,
    next_to_show,
    put_items,
    scored_samples,
    scorer_to_show,
)
from curation.ledger.scores import Scorer, scorer_by_id
from curation.ledger.targets import Hold, Target, hold
from curation.platforms.contract import Columns, Placed, Platform, Standing
from curation.reconcile.pull import Pulled, pull
from curation.triage import TierPolicy, percentile

SHOW_SHARE = 0.05
"""Part of the time that a platform may be busy with taking new orders while samples and scores keep arriving."""


@dataclass
class Pushed:
    """What one push did, beside what its pull brought.

    `reordered`: the platform took a new order. `waiting`: a new order is due, but the platform has just taken one.
    `problems`: why some samples could not be shown, without any of their text.
    """

    pulled: Pulled = field(default_factory=Pulled)
    scorer: str = ""
    items: int = 0
    created: int = 0
    reordered: bool = False
    waiting: bool = False
    columns: int = 0
    problems: list[str] = field(default_factory=list[str])


_SHOWN = 10

Told = Callable[[str, int, int], None]
"""Progress: what is being done, how much of it is done, and of how much."""


def push(
    engine: Engine,
    target_id: int,
    open_platform: Callable[[Target], Platform],
    tiers: TierPolicy,
    lease_seconds: float,
    *,
    at_once: bool = False,
    told: Told = lambda what, done, total: None,
) -> Pushed:
    """Bring a target up to date; `at_once` even if it took a new order a moment ago.

    Raises TargetBusy if another process is at work on it, PlatformError or LedgerError for what cannot be done now.
    """
    with hold(engine, target_id, lease_seconds) as held:
        platform = open_platform(held.target)
        done = Pushed(pulled=pull(held, platform))
        with reading(engine) as conn:
            scorer_id = scorer_to_show(conn, held.target.dataset_id)
            if scorer_id is None:
                return done
            scorer = scorer_by_id(conn, scorer_id)
            risks = risks_on_lines(conn, held.target.dataset_id, scorer_id)
        work = _Push(held, platform, scorer, _Display(risks, tiers, scorer.fingerprint[:12]), told, done)
        work.create()
        work.show(at_once=at_once)
        held.note(pushed_at=clock.in_seconds(0.0), scorer_id=scorer_id)
    return done


@dataclass(frozen=True, slots=True)
class _Display:
    """What is displayed beside a sample. `risks`: of the whole dataset, shape (n,), from the highest down."""

    risks: NDArray[np.float64]
    tiers: TierPolicy
    scorer: str

    def columns(self, scored: Scored) -> Columns:
        if scored.risk is None or scored.danger is None or scored.safety is None:
            return Columns(cast("Standing", scored.state))
        n = len(self.risks)
        above = n - int(np.searchsorted(self.risks[::-1], scored.risk, side="right"))
        # A sample that no line holds any more has a place of its own behind the last.
        at = percentile(min(above, n - 1), n) if n else 0.0
        risk, danger, safety = map(_three_digits, (scored.risk, scored.danger, scored.safety))
        return Columns(self.tiers.tier(at), int(at), risk, danger, safety, self.scorer)


@dataclass(frozen=True, slots=True)
class _Push:
    held: Hold
    platform: Platform
    scorer: Scorer
    display: _Display
    told: Told
    done: Pushed

    def create(self) -> None:
        """Make items for the samples that ought to be reviewed next and are not shown yet."""
        engine, target = self.held.engine, self.held.target
        with reading(engine) as conn:
            wanted = next_to_show(conn, target, self.scorer.id, target.options["head"])
        refused = 0
        for start in range(0, len(wanted), self.platform.chunk):
            self.told("creating", start, len(wanted))
            pks = wanted[start : start + self.platform.chunk]
            with reading(engine) as conn:
                found = scored_samples(conn, target.dataset_id, self.scorer.id, pks)
            new = [(stored.sample, self.display.columns(scored)) for stored, scored in found]
            self.held.note()  # nobody else creates what this is about to create
            made = self.platform.create(new)
            rows = [
                NewItem(remote_id, pk, shown=columns_json(columns))
                for remote_id, pk, (_, columns) in zip(made.remote_ids, pks, new, strict=True)
                if remote_id is not None
            ]
            with writing(engine) as conn:
                self.held.fence(conn)
                put_items(conn, target, rows)
            self.done.created += len(rows)
            refused += len(pks) - len(rows)
            self.done.problems += made.problems[: max(0, _SHOWN - len(self.done.problems))]
        if refused:
            self.done.problems.append(f"{refused:,} samples cannot be shown there: they stay undecided")

    def show(self, *, at_once: bool) -> None:
        """Have the platform serve its items in the order of the queue."""
        try:
            self._show(at_once)
        except PlatformUnavailable:
            raise
        except PlatformError:
            if not self._forget_missing():
                raise
            self._show(at_once)

    def _show(self, at_once: bool) -> None:
        engine, target = self.held.engine, self.held.target
        with reading(engine) as conn:
            live = live_items(conn, target, self.scorer.id)
        if not live:
            return
        placed = [self._placed(i, len(live), item) for i, item in enumerate(live)]
        revision = revision_of(self.scorer.fingerprint, placed)
        self.done.scorer, self.done.items = self.scorer.fingerprint, len(live)
        due = revision != target.shown or any(item.changed for item in placed)
        if due and not (at_once or target.may_show):
            self.done.waiting = True
            return
        texts = {item.remote_id: columns_json(item.columns) for item in placed}
        start = time.monotonic()
        for ids in self.platform.show(revision, placed):
            with writing(engine) as conn:
                self.held.fence(conn, shown=revision)
                mark_shown(conn, target.id, {remote_id: texts[remote_id] for remote_id in ids})
            self.done.columns += len(ids)
            self.told("ordering", self.done.columns, len(placed))
        self.done.reordered = revision != target.shown
        if due:
            pause = (time.monotonic() - start) * (1 / SHOW_SHARE - 1)
            self.held.note(shown=revision, show_after=clock.in_seconds(pause))

    def _forget_missing(self) -> int:
        """Note which items were deleted on the platform, the usual reason for it to refuse an order."""
        engine, target = self.held.engine, self.held.target
        with reading(engine) as conn:
            ids = [item.remote_id for item in live_items(conn, target, self.scorer.id)]
        there = self.platform.present(ids)
        missing = [remote_id for remote_id in ids if remote_id not in there]
        with writing(engine) as conn:
            self.held.fence(conn)
            mark_gone(conn, target.id, missing)
        return len(missing)

    def _placed(self, position: int, n: int, item: PlacedItem) -> Placed:
        columns = self.display.columns(item.scored)
        return Placed(item.remote_id, position / max(1, n - 1), columns, columns_json(columns) != item.shown)


def revision_of(fingerprint: str, placed: Sequence[Placed]) -> str:
    """A name for a scorer and an order of items: the same again has the same name."""
    order = hashlib.sha256("\n".join(item.remote_id for item in placed).encode()).hexdigest()
    return f"sqsd-{fingerprint[:12]}-{order[:12]}"


def columns_json(columns: Columns) -> str:
    """What is displayed of an item, as the ledger remembers it."""
    return orjson.dumps(columns).decode()


def _three_digits(value: float) -> float:
    return float(f"{value:.3g}")
