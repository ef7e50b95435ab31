"""Whether a line may leave: a pure function of the policy and what the ledger says of the line. Fail-closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from curation.gate.policy import Policy
from curation.ledger.decisions import Decision
from curation.ledger.exports import Line
from curation.review.fold import last_words, standing
from curation.samples.sample import Sample
from curation.triage import Tier, percentile

Because = Literal["approved", "passed"]
Held = Literal[
    "damaged", "rejected", "quarantined", "stale", "unscored", "tier held", "undecided", "order incomplete", "edited"
]  # fmt: skip

HELD_WORDS: dict[Held, str] = {
    "damaged": "the text in the ledger is not the one its id was made of",
    "rejected": "rejected by a reviewer",
    "quarantined": "could not be scored",
    "stale": "scored by other scorers, not by the policy's",
    "unscored": "not scored yet",
    "tier held": "in a tier that the policy holds",
    "undecided": "no approval that stands",
    "order incomplete": "would pass by its tier, but samples without a score may still change the order",
    "edited": "samples on no line any more: the lines they were read from have changed",
}
"""Why something stays in, in the order in which it is asked."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """`because` is None if the line is held, `held` is None if it may leave.

    `words` are the decisions that stand. Percentile (0-100, 100 = riskiest) and tier are None without a score.
    """

    because: Because | None
    held: Held | None
    words: Sequence[Decision]
    percentile: float | None = None
    tier: Tier | None = None


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges the lines of one dataset. `risks`: of its scored samples that are on a line, highest first;
    `complete`: none of those on a line still waits for its score."""

    policy: Policy
    risks: NDArray[np.float64]
    complete: bool

    def judge(self, line: Line, sample: Sample | None, decisions: Sequence[Decision]) -> Judgement:
        """`sample` is what the line's text says, None if it says none."""
        words = last_words(decisions)
        state = standing(words, self.policy.decided_by)
        if sample is None or sample.id != line.content_hash:
            return Judgement(None, "damaged", words)
        if state == "rejected":
            return Judgement(None, "rejected", words)
        if line.risk is None:
            unknown: Held = "quarantined" if line.quarantined is not None else "unscored"
            return Judgement(None, "stale" if line.stale else unknown, words)
        n = len(self.risks)
        above = n - int(np.searchsorted(self.risks[::-1], line.risk, side="right"))
        tier = self.policy.tiers.tier(line.risk, above, n)
        treatment = self.policy.rules[tier]
        held: Held | None = None
        because: Because | None = None
        if treatment == "hold":
            held = "tier held"
        elif state == "approved":
            because = "approved"
        elif treatment == "approve" or any(word.verdict == "reject" for word in words):
            held = "undecided"
        elif self.policy.tiers.relative and not self.complete:
            held = "order incomplete"
        else:
            because = "passed"
        return Judgement(because, held, words, percentile(above, n), tier)
