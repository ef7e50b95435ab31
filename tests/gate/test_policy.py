"""A policy says what it means, or is refused with the place and the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import InputError
from curation.gate.policy import (
    EXAMPLE,
    Policy,
    PolicyFile,
    Tiers,
    canonical,
    in_words,
    load_policy,
    sha256_of,
)
from curation.triage import TIERS, TierPolicy, percentile


def load(tmp_path: Path, text: str) -> PolicyFile:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    return load_policy(path)


def test_by_default_nothing_leaves_without_an_approval(tmp_path: Path) -> None:
    for text in ('scorer = "abcdef"', EXAMPLE.format(scorer="abcdef")):
        policy = load(tmp_path, text).for_dataset("any")
        assert set(policy.rules.values()) == {"approve"}
        assert policy == Policy(scorer="abcdef")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "scorer"),
        ('scorer = "abc"', "scorer"),
        ('scorer = "abcdef"\nrules = { urgent = "pass" }', "urgent"),
        ('scorer = "abcdef"\nrules = { low = "maybe" }', "rules.low"),
        ('scorer = "abcdef"\nrules = { high = "pass" }', "high = 'pass' and medium = 'approve' contradict"),
        ('scorer = "abcdef"\nrules = { low = "hold" }', "contradict"),
        ('scorer = "abcdef"\ndecided_by = "coin"', "decided_by"),
        ('scorer = "abcdef"\npass_all = true', "pass_all"),
        ('scorer = "abcdef"\ntiers = { critical = 80 }', "descend"),
        ('scorer = "abcdef"\ntiers = { critical = 101 }', "between 0 and 100"),
        ('scorer = "abcdef"\ntiers = { critical = nan }', "finite"),
        ('scorer = "abcdef"\ntiers = { by = "top", critical = 5 }', "need critical, high and medium"),
        ('scorer = "abcdef"\ntiers = { by = "top", critical = 5, high = 4, medium = 9 }', "ascend"),
        ('scorer = "abcdef"\ntiers = { by = "top", critical = 0.5, high = 4, medium = 9 }', "whole numbers"),
        ('scorer = "abcdef"\n[datasets.a]\nrules = { critical = "pass" }', "for dataset 'a'"),
        ('scorer = "abcdef"\n[datasets.a]\nscorer = "x"', "for dataset 'a'"),
        ("scorer = ", "not TOML"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(tmp_path, text)


def test_a_missing_policy_says_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="policy init"):
        load_policy(tmp_path / "none.toml")


def test_a_dataset_may_differ_tier_by_tier(tmp_path: Path) -> None:
    override = '[datasets.a]\ndecided_by = "last"\nrules = { low = "pass" }\n'
    read = load(tmp_path, f'scorer = "abcdef"\n[rules]\ncritical = "hold"\n{override}')
    assert read.for_dataset("a").rules == {
        "critical": "hold",
        "high": "approve",
        "medium": "approve",
        "low": "pass",
    }
    assert read.for_dataset("a").decided_by == "last"
    assert read.for_dataset("b").rules["low"] == "approve"


def test_comments_do_not_change_a_policy_and_numbers_do(tmp_path: Path) -> None:
    one = load(tmp_path, 'scorer = "abcdef"')
    assert sha256_of(load(tmp_path, '# hello\nscorer = "abcdef"\n[tiers]\nhigh = 90')) == sha256_of(one)
    assert sha256_of(load(tmp_path, 'scorer = "abcdef"\n[tiers]\nhigh = 91')) != sha256_of(one)
    assert PolicyFile.model_validate_json(canonical(one)) == one


@given(st.integers(1, 300), st.data())
def test_percentile_tiers_are_those_of_the_queue(n: int, data: st.DataObject) -> None:
    above = data.draw(st.integers(0, n - 1))
    assert Tiers().tier(0.0, above, n) == TierPolicy().tier(percentile(above, n))


def test_equal_risks_at_a_bound_all_belong_to_the_riskier_tier() -> None:
    top = Tiers(by="top", critical=0, high=2, medium=2)
    # risks 9, 5, 5, 5, 1: two strictly riskier than the last, one than each 5
    assert [top.tier(0.0, above, 5) for above in (0, 1, 1, 1, 4)] == ["high"] * 4 + ["low"]
    risk = Tiers(by="risk", critical=9, high=5, medium=1)
    assert [risk.tier(r, 0, 1) for r in (9.0, 8.9, 5.0, 1.0, 0.9)] == [
        "critical",
        "high",
        "high",
        "medium",
        "low",
    ]


def test_every_tier_is_put_into_words() -> None:
    words = in_words(Policy(scorer="abcdef", rules={"low": "pass"}))
    assert [line.split()[0] for line in words] == list(TIERS)
    assert "without review" in words[-1]
