"""Token heat: how much an update at each token position would add to, or take from, a sample's risk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curation.report.data import TokenHeat

ROW_TOKENS = 1_200
"""Tokens of one sample that are shown, counted from its end, where the answer is."""

ROW_CHARS = 8_000

LEVELS = 4
"""Shades per sign. Full shade: at least half of the sample's strongest token; each fainter one, half that."""


@dataclass(frozen=True, slots=True)
class Span:
    """Text of one shade. `level` is -LEVELS..LEVELS: > 0 toward danger, < 0 toward safety, 0 near zero.

    Coloured spans are single tokens and carry their `risk`; neighbours near zero are joined into one span.
    """

    text: str
    level: int
    risk: float


@dataclass(frozen=True, slots=True)
class HeatMap:
    """What is shown of a sample's token heat.

    `total` sums every token, hidden ones included; `hidden` tokens before the shown ones add up to
    `hidden_risk`. `extremes` are the strongest tokens toward danger, then toward safety, for readers who
    cannot see the colours.
    """

    spans: Sequence[Span]
    tokens: int
    total: float
    strongest: float
    hidden: int
    hidden_risk: float
    extremes: tuple[Sequence[TokenHeat], Sequence[TokenHeat]]


def heat_map(heat: Sequence[TokenHeat], named: int = 3) -> HeatMap:
    """The map of a sample's tokens, cut to ROW_TOKENS and ROW_CHARS from its end."""
    strongest = max((abs(token.risk) for token in heat), default=0.0)
    first = _first_shown(heat)
    ordered = sorted(heat, key=lambda token: -token.risk)
    return HeatMap(
        spans=_spans(heat[first:], strongest),
        tokens=len(heat),
        total=sum(token.risk for token in heat),
        strongest=strongest,
        hidden=first,
        hidden_risk=sum(token.risk for token in heat[:first]),
        extremes=(
            [token for token in ordered[:named] if token.risk > 0],
            [token for token in reversed(ordered[-named:]) if token.risk < 0],
        ),
    )


def level(risk: float, strongest: float) -> int:
    """Shade of a contribution, -LEVELS..LEVELS, relative to the largest magnitude in the sample."""
    # Shades halve instead of growing evenly: contributions are heavy-tailed, and on an even scale one
    # strong token would leave all others blank.
    magnitude = sum(abs(risk) >= strongest / 2**step for step in range(1, LEVELS + 1)) if strongest > 0 else 0
    return magnitude if risk > 0 else -magnitude


def _first_shown(heat: Sequence[TokenHeat]) -> int:
    first, chars = len(heat), 0
    while first > 0 and len(heat) - first < ROW_TOKENS:
        chars += len(heat[first - 1].text)
        if chars > ROW_CHARS:
            break
        first -= 1
    return first


def _spans(heat: Sequence[TokenHeat], strongest: float) -> list[Span]:
    spans: list[Span] = []
    for token in heat:
        shade = level(token.risk, strongest)
        if shade == 0 and spans and spans[-1].level == 0:
            spans[-1] = Span(spans[-1].text + token.text, 0, spans[-1].risk + token.risk)
        else:
            spans.append(Span(token.text, shade, token.risk))
    return spans
