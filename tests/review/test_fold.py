"""How a sample stands follows from what was decided, never from the order in which it arrived."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.ledger.decisions import Decision
from curation.review.fold import RULES, Rule, disagree, last_words, standing

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def said(verdict: str, by: str, minute: int = 0, source: str = "file") -> Decision:
    when = NOON + timedelta(minutes=minute)
    return Decision(1, "0" * 64, verdict, by, None, None, source, "", when, NOON)  # type: ignore[arg-type]


words = st.builds(
    said,
    st.sampled_from(["approve", "reject", "withdraw"]),
    st.sampled_from(["ada", "bob", "eve"]),
    st.integers(0, 3),
    st.sampled_from(["file", "cli"]),
)


@given(st.lists(words, max_size=8, unique=True), st.randoms())
def test_any_order_of_arrival_gives_the_same_standing(decisions: list[Decision], random: object) -> None:
    shuffled = list(decisions)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert last_words(shuffled) == last_words(decisions)
    for rule in RULES:
        assert standing(last_words(shuffled), rule) == standing(last_words(decisions), rule)


@given(st.lists(words, max_size=8), st.sampled_from(RULES))
def test_nothing_is_approved_without_an_approval_that_stands(decisions: list[Decision], rule: Rule) -> None:
    left = last_words(decisions)
    if standing(left, rule) == "approved":
        assert any(word.verdict == "approve" for word in left)
    if not any(word.verdict == "approve" for word in decisions):
        assert standing(left, rule) != "approved"


@pytest.mark.parametrize(
    ("decisions", "expected"),
    [
        ([], ("undecided",) * 4),
        ([said("approve", "ada")], ("approved",) * 4),
        ([said("reject", "ada"), said("approve", "ada", 1)], ("approved",) * 4),
        ([said("approve", "ada"), said("withdraw", "ada", 1)], ("undecided",) * 4),
        (
            [said("approve", "ada"), said("reject", "bob", 1)],
            ("rejected", "undecided", "undecided", "rejected"),
        ),
        (
            [said("reject", "ada"), said("approve", "bob", 1)],
            ("rejected", "undecided", "undecided", "approved"),
        ),
        (
            [said("reject", "ada"), said("approve", "bob", 1), said("approve", "eve", 2)],
            ("rejected", "undecided", "approved", "approved"),
        ),
        ([said("reject", "ada"), said("approve", "bob", 1), said("withdraw", "ada", 2)], ("approved",) * 4),
        ([said("approve", "ada"), said("reject", "ada")], ("rejected",) * 4),
    ],
)
def test_the_rules(decisions: list[Decision], expected: tuple[str, ...]) -> None:
    left = last_words(decisions)
    assert tuple(standing(left, rule) for rule in RULES) == expected


def test_reviewers_disagree_only_by_their_last_words() -> None:
    assert disagree(last_words([said("approve", "ada"), said("reject", "bob")]))
    assert not disagree(last_words([said("approve", "ada"), said("reject", "ada", 1)]))
    assert not disagree(
        last_words([said("approve", "ada"), said("reject", "bob"), said("withdraw", "bob", 1)])
    )
