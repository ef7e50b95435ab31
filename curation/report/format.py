"""Numbers and moments as the page prints them."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime

import numpy as np

from curation.report.data import Columns


def count(number: int) -> str:
    return f"{number:,}"


def percentile(value: float) -> str:
    """One decimal, rounded down: 97.96 must not read 98.0, which is another tier."""
    return f"{math.floor(round(value * 10, 6)) / 10:.1f}"


def moment(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M %Z").rstrip()


def ago(seconds: float | None) -> str:
    """How long ago, in the largest unit of which there are two; None: never."""
    if seconds is None:
        return "never"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"


def contribution(risk: float) -> str:
    """A token's share of a risk: its sign and two digits, as these span orders of magnitude."""
    return _typeset(f"{risk:+#.2g}".removesuffix("."))


def correlation(rho: float) -> str:
    return _typeset(f"{rho:+.2f}")


def signed(columns: Columns) -> Callable[[float], str]:
    """Format risks and projections with their sign, with as many decimals as the spread of risk asks for."""
    spread = float(np.ptp(columns.risk)) if len(columns) > 1 else 0.0
    return signed_by(spread or float(np.abs(columns.risk).max(initial=0.0)))


def signed_by(spread: float) -> Callable[[float], str]:
    """The same for a spread that is known, 0 if it is not."""
    spread = spread or 1.0
    decimals = 2 - math.floor(math.log10(spread))
    pattern = f"{{:+.{max(decimals, 0)}f}}" if -4 <= decimals <= 6 else "{:+.2e}"
    return lambda value: _typeset(pattern.format(value))


def _typeset(number: str) -> str:
    """A formatted number with a real minus, and without a sign that would claim a direction for 0."""
    return (number if float(number) else number[1:]).replace("-", "\N{MINUS SIGN}")
