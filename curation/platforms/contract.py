"""What the reconcilers ask of a labeling platform, and the plain values that go back and forth.

A platform shows samples as items (tasks, records), in the order of risk, and says what became of them. It knows
neither the ledger nor a model; what is to be shown and what an answer means is settled outside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NamedTuple, Protocol

from curation.samples.sample import Sample
from curation.triage import Tier

Standing = Literal["quarantined", "unscored"] | Tier
"""What a reviewer sees instead of a tier where there is no score."""


@dataclass(frozen=True, slots=True)
class Columns:
    """What is displayed beside a sample. Higher risk = riskier; percentile 100 = riskiest, cut to a whole number.

    Risks have three significant digits: the exact order is `Placed.place`, and a platform may have to set every
    different value by a request of its own. The numbers are None where there is no score.
    """

    tier: Standing
    percentile: int | None = None
    risk: float | None = None
    danger: float | None = None
    safety: float | None = None
    scorer: str | None = None


@dataclass(frozen=True, slots=True)
class Placed:
    """An item and its place in the queue: 0 is reviewed first, 1 last; no two items have the same.

    `changed`: the columns differ from what the platform was last told.
    """

    remote_id: str
    place: float
    columns: Columns
    changed: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """One reviewer's answer on an item. `remote_id` is what the platform calls it."""

    remote_id: str
    verdict: Literal["approve", "reject"]
    reviewer: str
    decided_at: datetime
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class RemoteItem:
    """An item as the platform holds it. Without a sample, `problem` says why its text cannot be one.

    `answers` are all that count at the moment: an answer that was deleted, skipped or left unfinished is not there.
    """

    remote_id: str
    updated_at: datetime
    sample: Sample | None
    problem: str | None = None
    answers: tuple[Answer, ...] = ()


class Changes(NamedTuple):
    """Items that changed, and the cursor from which to go on once they are kept."""

    items: Sequence[RemoteItem]
    cursor: str


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was checked on a platform. `repaired`: it was wrong and no longer is."""

    check: str
    ok: bool
    says: str
    repaired: bool = False


@dataclass
class Created:
    """What came of new items: ids in the order of the samples, None for one that the platform cannot show."""

    remote_ids: list[str | None] = field(default_factory=list[str | None])
    problems: list[str] = field(default_factory=list[str])


class Platform(Protocol):
    """One project or dataset on one server. Every call may raise PlatformError or PlatformUnavailable.

    Nobody else calls `create` or `show` meanwhile: the caller holds the target.
    """

    chunk: int
    """Samples in one call of `create`, so that it is answered well before the target's lease runs out."""

    def create(self, samples: Sequence[tuple[Sample, Columns]]) -> Created:
        """Make an item for each sample, none of which has one; at most `chunk` of them."""
        ...

    def changes(self, cursor: str | None) -> Iterator[Changes]:
        """Everything that changed since the cursor (None: everything), oldest first; some of it again."""
        ...

    def show(self, revision: str, items: Sequence[Placed]) -> Iterator[Sequence[str]]:
        """Bring order and columns up to date, the order first; to do it twice changes nothing.

        Where a platform can do it, a new order takes over at one moment; elsewhere its top comes first.

        Yields the ids of items whose columns are displayed now. `items` are all there are, in the order of the queue,
        and `revision` names this very order.
        """
        ...

    def show_reason(self, remote_id: str, html: str) -> None:
        """Show HTML, closed until asked for, beside an item. It holds no markup but ours.

        Raises PlatformError if this target was not connected with a place for it.
        """
        ...

    def present(self, remote_ids: Sequence[str]) -> set[str]:
        """Those of the items that still exist."""
        ...

    def examine(self, revision: str | None, items: int, *, repair: bool) -> Iterator[Finding]:
        """Check what the order depends on, and mend it if wanted."""
        ...

    def queue_url(self) -> str:
        """Where a reviewer begins."""
        ...
