"""Token heat: the shades follow the contributions, and what is cut is accounted for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.report.data import TokenHeat
from curation.report.heat import LEVELS, ROW_CHARS, ROW_TOKENS, heat_map, level

RISKS = st.floats(-1e6, 1e6)
TOKENS = st.lists(st.builds(TokenHeat, st.text(max_size=5), RISKS), max_size=60)


@given(RISKS, RISKS)
def test_shade_has_the_sign_of_the_contribution_and_grows_with_it(a: float, b: float) -> None:
    strongest = max(abs(a), abs(b))
    assert -LEVELS <= level(a, strongest) <= LEVELS
    assert level(a, strongest) * a >= 0
    assert level(-a, strongest) == -level(a, strongest)
    if abs(a) >= abs(b):
        assert abs(level(a, strongest)) >= abs(level(b, strongest))


def test_each_shade_halves_the_one_above() -> None:
    assert [level(x, 1.0) for x in (1, 0.5, 0.49, 0.25, 0.24, 0.12, 0.07, 0.06, 0)] == [
        4,
        4,
        3,
        3,
        2,
        1,
        1,
        0,
        0,
    ]
    assert [level(x, 8e-9) for x in (8e-9, -4e-9, 1e-10)] == [4, -4, 0]


@given(TOKENS)
def test_spans_keep_the_text_and_the_sum(tokens: list[TokenHeat]) -> None:
    found = heat_map(tokens)
    assert "".join(span.text for span in found.spans) == "".join(token.text for token in tokens)
    total = math.fsum(token.risk for token in tokens)
    assert math.fsum(span.risk for span in found.spans) == pytest.approx(total, abs=1e-3)
    assert found.total == pytest.approx(total, abs=1e-3)
    assert found.hidden == 0


@given(TOKENS)
def test_extremes_are_the_strongest_of_each_sign(tokens: list[TokenHeat]) -> None:
    danger, safety = heat_map(tokens).extremes
    assert [t.risk for t in danger] == sorted((t.risk for t in tokens if t.risk > 0), reverse=True)[:3]
    assert [t.risk for t in safety] == sorted(t.risk for t in tokens if t.risk < 0)[:3]


def test_all_zero_tokens_are_one_uncoloured_span() -> None:
    (span,) = heat_map([TokenHeat("a", 0.0), TokenHeat("b", -0.0)]).spans
    assert (span.text, span.level) == ("ab", 0)
    assert heat_map([]).spans == []


def test_the_start_is_cut_and_its_contribution_stated() -> None:
    tokens = [TokenHeat(f"{i} ", 1.0) for i in range(ROW_TOKENS + 50)]
    found = heat_map(tokens)
    assert (found.hidden, found.hidden_risk, found.total, found.tokens) == (
        50,
        50.0,
        ROW_TOKENS + 50,
        ROW_TOKENS + 50,
    )
    assert found.spans[0].text == "50 "
    assert found.spans[-1].text == tokens[-1].text


def test_a_huge_token_is_cut_too() -> None:
    found = heat_map([TokenHeat("x" * (ROW_CHARS + 1), 0.5), TokenHeat("end", -0.25)])
    assert [span.text for span in found.spans] == ["end"]
    assert (found.hidden, found.hidden_risk) == (1, 0.5)


@pytest.mark.parametrize("risk", [math.nan, math.inf, -math.inf])
def test_contributions_must_be_finite(risk: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        TokenHeat("a", risk)
