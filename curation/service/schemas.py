"""What the service answers, as its OpenAPI describes it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from curation.ledger.queue import State
from curation.samples.sample import Role, Train
from curation.triage import Tier

_ID = "3f9a2c" + "0" * 58


def _example(**values: Any) -> ConfigDict:
    return ConfigDict(json_schema_extra={"example": values})


class Error(BaseModel):
    model_config = _example(error="there is no dataset 'support'", next="Known datasets: 'chat'.")

    error: str = Field(description="What is wrong.")
    next: str = Field(description="What to do about it.")


class Reject(BaseModel):
    line: int = Field(description="Line of the body, or number of the row in a JSON list, from 1.")
    reason: str


class Ingested(BaseModel):
    """What became of the rows: rows = new + duplicates + unchanged + rejected."""

    model_config = _example(
        dataset="support", layout="messages", rows=5, new=2, duplicates=1, unchanged=1, rejected=1,
        rejects=[{"line": 4, "reason": "no assistant turn to train on"}],
    )  # fmt: skip

    dataset: str
    layout: str | None = Field(description="The layout the rows were read in; null if no row could be read.")
    rows: int = Field(description="Rows in the body.")
    new: int = Field(description="Rows with a sample that the dataset did not have.")
    duplicates: int = Field(description="Rows with a sample that it had, from a place that did not hold it.")
    unchanged: int = Field(description="Rows that the ledger had already, or that repeat another.")
    rejected: int = Field(description="Rows that cannot become samples.")
    rejects: list[Reject] = Field(description="At most 100 of the rejected rows, by line.")


class DatasetCounts(BaseModel):
    """A dataset; samples = scored + quarantined + unscored."""

    name: str
    created_at: datetime
    samples: int
    scored: int
    quarantined: int = Field(description="Could not be scored.")
    unscored: int


class Datasets(BaseModel):
    scorer: str | None = Field(
        description="Fingerprint of the scorer counted by; null: nothing is scored yet."
    )
    datasets: list[DatasetCounts]


class Turn(BaseModel):
    role: Role
    content: str


class Ranked(BaseModel):
    """A sample as it stands in the review queue. **Higher risk = riskier**; risk = danger - safety.

    The numbers are null unless the state is "scored".
    """

    id: str = Field(description="SHA-256 of the conversation.", examples=[_ID])
    state: State
    risk: float | None = Field(description="Higher = riskier. Comparable within one dataset and scorer only.")
    percentile: float | None = Field(description="0 to 100 within the dataset; 100 = riskiest.")
    tier: Tier | None
    danger: float | None = Field(description="Projection on the danger direction.")
    safety: float | None = Field(description="Projection on the safety direction.")
    copies: int = Field(description="Lines that hold this sample.")
    reason: str | None = Field(description="Why it could not be scored, if it is quarantined.")
    train: Train = Field(description="Assistant turns that are trained on.")
    messages: list[Turn]


class Queue(BaseModel):
    """Quarantined samples first, then those without a score, then the riskiest: higher risk = riskier."""

    dataset: str
    scorer: str | None = Field(
        description="Fingerprint of the scorer that ranked them; null: nothing is scored."
    )
    items: list[Ranked]
    next: str | None = Field(description="Give this as `after` for the next page; null: this is the last.")


class Line(BaseModel):
    file: str
    line: int
    metadata: dict[str, Any] = Field(description="The other fields of the row.")


class SampleDetail(Ranked):
    """A sample with its score by one scorer and the lines it was read from."""

    dataset: str
    scorer: str | None = Field(description="Fingerprint of the scorer; null: nothing is scored.")
    occurrences: list[Line] = Field(description="At most 100 of the lines that hold the sample.")


class BacklogStatus(BaseModel):
    """One dataset under one scorer."""

    scorer: str
    dataset: str
    in_service: bool = Field(description="Whether the fleet scores everything with this scorer.")
    unscored: int
    quarantined: int
    oldest_age_seconds: float | None = Field(description="How long the longest waiting sample waits.")
    leases: int = Field(description="Batches that are being scored.")
    overdue: int = Field(description="Batches whose worker has been silent for too long.")


class ScorerStatus(BaseModel):
    scorer: str
    unscored: int = Field(description="Over all datasets.")
    samples_per_second: float = Field(description="Of all workers alive.")
    eta_seconds: float | None = Field(description="Until all is scored at this rate; null: nobody is at it.")


class WorkerStatus(BaseModel):
    name: str
    device: str | None
    scorer: str | None
    samples_per_second: float | None
    trouble: str | None = Field(description="Why it cannot work.")
    started_at: datetime
    silent_seconds: float = Field(description="Since it was last seen.")
    alive: bool


class TargetStatus(BaseModel):
    name: str
    platform: str
    dataset: str
    pull_age_seconds: float | None = Field(description="Since decisions were read from it; null: never.")
    push_age_seconds: float | None = Field(description="Since it was given the order; null: never.")
    trouble: str | None = Field(description="What keeps it from being brought up to date.")


class Status(BaseModel):
    """At most a few seconds old."""

    scorers: list[ScorerStatus]
    backlogs: list[BacklogStatus]
    workers: list[WorkerStatus]
    targets: list[TargetStatus]


class Healthy(BaseModel):
    status: str = Field(examples=["ok"])
