"""Drift budget: the largest set of rows whose predicted net drift stays under a bound.

    drift(S) = sum over rows i of S of risk_i,     risk_i = danger_i - safety_i       higher = riskier

to first order and up to a positive factor (learning rate, epochs, batch size), for scores that are linear in the
gradient: `projection` and `dot`, not `cosine`, whose sums are no drift of plain gradient descent. docs/method.md
derives it and says where it ends.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from curation.errors import InputError

Floats = NDArray[np.float64]

ADDITIVE = ("projection", "dot")
"""Metrics whose scores add up to a drift, to first order."""


@dataclass(frozen=True, slots=True)
class Drift:
    """Predicted drift of a set of `rows`, in the scorer's units. `net` = `danger` - `safety`, higher = riskier."""

    rows: int
    danger: float
    safety: float

    @property
    def net(self) -> float:
        return self.danger - self.safety

    @property
    def mean(self) -> float:
        """Net drift per row, 0 of no rows: what counts where the number of steps is fixed, not that of epochs."""
        return self.net / self.rows if self.rows else 0.0


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows from the least risky up, and how many of them to keep.

    `order` holds their places in the arrays that were given, (n,); `risk`, `danger` and `safety` are in that
    order. The first `kept` stay.
    """

    order: NDArray[np.int64]
    risk: Floats
    danger: Floats
    safety: Floats
    kept: int
    bound: float

    @property
    def before(self) -> Drift:
        """Of all rows."""
        return Drift(len(self.risk), _sum(self.danger), _sum(self.safety))

    @property
    def after(self) -> Drift:
        """Of the rows that are kept."""
        return Drift(self.kept, _sum(self.danger[: self.kept]), _sum(self.safety[: self.kept]))


def select_rows(danger: Floats, safety: Floats, bound: float) -> Selection:
    """The largest set of rows whose net drift is at most `bound`: the least risky ones, as many as go in.

    Exact: of all sets of k rows, the k least risky have the smallest sum, so if any k rows stay under the bound
    these do. Which of several equal rows is dropped follows the given order, the earlier first. Raises InputError
    if not even the safest rows reach a bound below 0.
    """
    risk = danger - safety
    order = np.lexsort((-np.arange(len(risk)), risk))
    sums = np.concatenate([[0.0], np.cumsum(risk[order])])
    (reached,) = np.nonzero(sums <= bound)
    if not len(reached):
        raise InputError(
            f"no choice of these rows has a predicted drift of {bound:,.6g} or less: the lowest is {sums.min():,.6g}",
            "Give a higher bound, or add rows that move the model toward safety (--mix).",
        )
    return Selection(order, risk[order], danger[order], safety[order], int(reached[-1]), bound)


def rows_to_mix(net: float, mean: float, bound: float) -> int | None:
    """How many rows of mean drift `mean` bring a drift of `net` to `bound` or below.

    0 if it is there already, None if such rows do not lower it.
    """
    if net <= bound:
        return 0
    if mean >= 0:
        return None
    n = math.ceil((net - bound) / -mean)
    return n if net + n * mean <= bound else n + 1  # the quotient may have been rounded down


def read_bound(text: str, net: float) -> float:
    """A bound as people write it: a number in the scorer's units, or a share of the whole set's drift `net`.

    "0", "-2.5", "50%". Raises InputError for anything else, and for a share of a drift that is not above 0.
    """
    share = text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"{text!r} is no bound on drift", "Give a number, such as 0, or a share, such as 50%."
        )
    if not share:
        return value
    if net <= 0:
        raise InputError(
            f"the predicted drift of the whole set is {net:,.4g}, of which {text} is no upper bound",
            "It is not above 0 as it is. To lower it further, give a number.",
        )
    return value / 100 * net


def _sum(values: Floats) -> float:
    return math.fsum(values)
