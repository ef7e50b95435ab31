"""From all that was ever decided on a sample to how it stands now.

A reviewer's last word replaces what the same reviewer said before, and a withdrawal leaves nothing. What the
remaining words add up to depends on the rule. The order in which decisions arrived plays no part.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from curation.ledger.decisions import SEVERITY, Decision

Rule = Literal["any-reject", "unanimous", "majority", "last"]
RULES: tuple[Rule, ...] = get_args(Rule)

Standing = Literal["approved", "rejected", "undecided"]

RULE_WORDS: dict[Rule, str] = {
    "any-reject": "one reject outweighs any number of approvals",
    "unanimous": "reviewers who disagree leave it undecided",
    "majority": "more approvals than rejects, or the other way round; as many leaves it undecided",
    "last": "the latest decision counts",
}


def last_words(decisions: Iterable[Decision]) -> list[Decision]:
    """Each reviewer's last decision, in order of time; reviewers who withdrew theirs are left out."""
    words: dict[str, Decision] = {}
    for decision in sorted(decisions, key=_moment):
        words.pop(decision.reviewer, None)
        words[decision.reviewer] = decision
    return [word for word in words.values() if word.verdict != "withdraw"]


def standing(words: Sequence[Decision], rule: Rule) -> Standing:
    """How a sample stands by what `last_words` left."""
    rejects = sum(word.verdict == "reject" for word in words)
    approvals = len(words) - rejects
    if not words:
        return "undecided"
    match rule:
        case "any-reject":
            return "rejected" if rejects else "approved"
        case "unanimous":
            return "undecided" if rejects and approvals else "rejected" if rejects else "approved"
        case "majority":
            return "undecided" if rejects == approvals else "rejected" if rejects > approvals else "approved"
        case "last":
            return "rejected" if words[-1].verdict == "reject" else "approved"


def disagree(words: Sequence[Decision]) -> bool:
    """Whether some approve and some reject."""
    return len({word.verdict for word in words}) > 1


def _moment(decision: Decision) -> tuple[Any, ...]:
    severity = SEVERITY[decision.verdict]
    return decision.decided_at, severity, decision.reviewer, decision.source, decision.remote_id
