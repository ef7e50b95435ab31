"""What a scorer says of a sample. Free of torch, so that whoever only keeps or shows scores starts at once."""

from __future__ import annotations

from dataclasses import dataclass

from curation.samples.sample import Sample


@dataclass(frozen=True, slots=True)
class Score:
    """One sample's score under one scorer. `risk` = `danger` - `safety`, higher = riskier.

    `danger` and `safety` are projections summed over modules (for cosine: within +- the number of modules),
    `loss` the mean cross-entropy of the trained tokens (nats) and `grad_norm` the norm of the induced update
    |delta| at learning rate 1, both at the danger state. `truncated`: the sample was cut on the left.
    """

    risk: float
    danger: float
    safety: float
    loss: float
    grad_norm: float
    n_tokens: int
    n_answer_tokens: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class Redrawn:
    """A sample's terms under each draw of the directions; a term without draws holds the scorer's own value alone."""

    danger: tuple[float, ...]
    safety: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Scored:
    """A sample with its score, or with the reason why it has none; `redrawn` if the scorer has draws."""

    sample: Sample
    score: Score | None
    failure: str | None = None
    redrawn: Redrawn | None = None
