"""A ranking that is only length is called that, and a check that cannot be made says so."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from curation.report.confounds import MIN_SAMPLES, confounds, headline, is_list
from tests.report.builders import columns_of

RISK = np.random.default_rng(7).normal(size=200)


@pytest.mark.parametrize(
    "text",
    [
        "- one\n- two",
        "Sure:\n\n* one\n  more\n* two",
        "1. one\n2. two",
        "1) one\n2) two",
        "(1) one\n(2) two",
        "  • one\n\t• two",
        "– one\n– two",
    ],
)
def test_two_lines_with_bullets_or_numbers_are_a_list(text: str) -> None:
    assert is_list(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "- only one",
        "3.5 million\n4.5 million",
        "-5 degrees\n-6 degrees",
        "---\n---",
        "a - b\nc - d",
        "- \n- ",
        "**bold**\n**too**",
    ],
)
def test_prose_is_no_list(text: str) -> None:
    assert not is_list(text)


def test_risk_that_is_length_gives_rho_one_and_the_strong_verdict() -> None:
    length, loss, listed = confounds(columns_of(RISK, n_answer_tokens=np.argsort(np.argsort(RISK))))
    assert length.rho == pytest.approx(1)
    assert length.strength == 3
    assert "longer answers rank riskier" in length.verdict
    assert headline([length, loss, listed]).startswith("Much of the ranking is answer length")


def test_the_sign_of_rho_is_the_direction_of_the_verdict() -> None:
    found = confounds(
        columns_of(RISK, n_answer_tokens=np.argsort(np.argsort(-RISK)), loss=-RISK, is_list=RISK < 0)
    )
    assert [c.rho < 0 for c in found if c.rho is not None] == [True] * 3
    assert all("safer" in c.verdict for c in found)


def test_unrelated_columns_are_not_blamed() -> None:
    order = np.argsort(np.argsort(RISK))
    folded = np.abs(order - len(order) / 2 + 0.5)  # symmetric about the median: uncorrelated by construction
    length = confounds(columns_of(RISK, n_answer_tokens=folded.astype(int)))[0]
    assert length.rho == pytest.approx(0, abs=0.02)
    assert length.strength == 0
    assert length.verdict.startswith("No visible link")
    assert headline([length]).startswith("The ranking does not follow")


@pytest.mark.parametrize("slope", [0.0, 0.5, 2.0])
def test_interval_holds_rho_and_covers_the_known_correlation(slope: float) -> None:
    hits, rng = 0, np.random.default_rng(11)
    for _ in range(100):
        x = rng.normal(size=100)
        y = slope * x + rng.normal(size=100)
        found = confounds(columns_of(x, loss=y))[1]
        assert found.rho is not None
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.rho < found.high
        # Spearman's rho of a bivariate normal with correlation r
        r = slope / np.hypot(slope, 1)
        hits += found.low <= 6 / np.pi * np.arcsin(r / 2) <= found.high
    assert hits >= 87  # 95 expected; fewer than 87 has a chance below one in a thousand


def test_top_tenth_and_all_are_medians_and_shares() -> None:
    risk = np.arange(100.0)
    length, _, listed = confounds(columns_of(risk, n_answer_tokens=np.arange(100) * 2, is_list=risk >= 80))
    assert (length.top, length.all) == (189, 99)
    assert (listed.top, listed.all) == (1.0, 0.2)


def test_constant_columns_give_no_rho_and_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = confounds(columns_of(RISK))
        flat = confounds(columns_of(np.zeros(200), loss=RISK))
    assert [c.rho for c in found + flat] == [None] * 6
    assert all("is the same for every sample" in c.verdict for c in found)
    assert "risk is the same" in flat[1].verdict
    assert headline(found).startswith("Too few samples or too little variety")


def test_too_few_samples_get_no_verdict() -> None:
    few = confounds(columns_of(RISK[: MIN_SAMPLES - 1], loss=RISK[: MIN_SAMPLES - 1]))
    assert [c.rho for c in few] == [None] * 3
    assert all("too few" in c.verdict for c in few)
    assert confounds(columns_of(RISK[:MIN_SAMPLES], loss=RISK[:MIN_SAMPLES]))[1].rho == pytest.approx(1)
    assert confounds(columns_of([])) == []
