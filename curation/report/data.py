"""What a report shows: plain values, collected elsewhere, so that rendering is a pure function of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curation.ledger.intervals import Firmness, Interval
from curation.review.agreement import Agreement
from curation.review.fold import Rule
from curation.review.precision import Precision
from curation.triage import Tier, TierPolicy, percentile

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation; `trained` if the loss covers it."""

    role: str
    text: str
    trained: bool = False


@dataclass(frozen=True, slots=True)
class TokenHeat:
    """A token as the model read it and its share of the sample's risk (finite; higher = riskier)."""

    text: str
    risk: float

    def __post_init__(self) -> None:
        if not isfinite(self.risk):
            raise ValueError(f"token contribution {self.risk} is not finite")


@dataclass(frozen=True, slots=True)
class ReportRow:
    """A scored sample to show in full. `rank` 1 is the riskiest; `heat` is empty and `band` None if not computed."""

    sample_id: str
    rank: int
    risk: float
    percentile: float
    tier: Tier
    danger: float
    safety: float
    loss: float
    n_answer_tokens: int
    source: str
    turns: Sequence[Turn]
    copies: int = 1
    truncated: bool = False
    flags: Sequence[str] = ()
    heat: Sequence[TokenHeat] = ()
    band: Interval | None = None


@dataclass(frozen=True, slots=True)
class QuarantinedRow:
    """A sample that could not be scored, and why."""

    sample_id: str
    reason: str
    source: str
    turns: Sequence[Turn]
    copies: int = 1


@dataclass(frozen=True)
class Columns:
    """One entry per scored sample, equal shapes (n,), finite: what the distributions are drawn from."""

    risk: Floats
    danger: Floats
    safety: Floats
    loss: Floats
    n_answer_tokens: NDArray[np.int64]
    is_list: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name in ("risk", "danger", "safety", "loss", "n_answer_tokens", "is_list"):
            column = getattr(self, name)
            if column.shape != (len(self),) or not np.isfinite(column).all():
                raise ValueError(f"column {name}: expected {len(self)} finite numbers, shape {column.shape}")

    def __len__(self) -> int:
        return self.risk.shape[0]

    def percentiles(self) -> Floats:
        """Percentile of each sample, shape (n,), 0-100, 100 = riskiest; ties share the higher value."""
        n = len(self)
        above = n - np.searchsorted(np.sort(self.risk), self.risk, side="right")
        return np.array([percentile(int(a), n) for a in above], dtype=np.float64)


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file that was read: its name and layout, its rows, and how many of them were rejected."""

    name: str
    layout: str
    rows: int
    rejected: int = 0


@dataclass(frozen=True)
class Provenance:
    """Where the ranking comes from. `samples` counts distinct samples; `details` may name anything else."""

    dataset: str
    created: datetime
    samples: int
    files: Sequence[SourceFile] = ()
    reject_reasons: Mapping[str, int] = field(default_factory=dict[str, int])
    scorer: str = ""
    versions: Mapping[str, str] = field(default_factory=dict[str, str])
    details: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class Repeated:
    """A sample that occurs more than once, with its rank if it was scored."""

    copies: int
    prompt: str
    source: str
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Duplicates:
    """`extra` rows repeat one of `groups` samples; `most_repeated` names some of those, most copies first."""

    extra: int = 0
    groups: int = 0
    most_repeated: Sequence[Repeated] = ()


@dataclass(frozen=True)
class Review:
    """What reviewers said so far of scored samples, several of them adding up by `rule`."""

    rule: Rule
    approved: int
    rejected: int
    undecided: int
    conflicts: int
    agreement: Agreement
    precision: Sequence[Precision]


@dataclass(frozen=True)
class ReportData:
    """Everything one report shows. `rows`: riskiest first; `quarantined`: perhaps not all `n_quarantined`.

    `columns` may hold a random part of a large dataset: `n_scored` then says how many samples are scored in
    all, and the page says that its figures stand for them. `firmness`: how far tiers hold with other anchors,
    riskiest first; empty if that was not computed.
    """

    provenance: Provenance
    columns: Columns
    rows: Sequence[ReportRow] = ()
    quarantined: Sequence[QuarantinedRow] = ()
    n_scored: int | None = None
    n_quarantined: int = 0
    duplicates: Duplicates = field(default_factory=Duplicates)
    policy: TierPolicy = field(default_factory=TierPolicy)
    model_card: Mapping[str, Any] = field(default_factory=dict[str, Any])
    direction_cards: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    warnings: Sequence[str] = ()
    review: Review | None = None
    firmness: Sequence[Firmness] = ()

    def __post_init__(self) -> None:
        shown = (
            (self.columns, self.scored),
            (self.rows, self.scored),
            (self.quarantined, self.n_quarantined),
        )
        if self.n_unscored < 0 or any(len(part) > whole for part, whole in shown):
            raise ValueError("the counts of samples, scored, shown and quarantined contradict each other")

    @property
    def scored(self) -> int:
        """Samples with a score, whether or not `columns` holds them."""
        return len(self.columns) if self.n_scored is None else self.n_scored

    @property
    def n_unscored(self) -> int:
        """Samples that are neither scored nor quarantined yet."""
        return self.provenance.samples - self.scored - self.n_quarantined
