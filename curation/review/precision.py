"""Does the order put what reviewers reject on top? Precision at k, against real decisions."""

from __future__ import annotations

from dataclasses import dataclass

from curation.review.outcomes import Interval, Outcomes


@dataclass(frozen=True, slots=True)
class Precision:
    """Of the `k` riskiest samples `decided` were decided on and `rejected` rejected.

    `rate` is rejected / decided with a 95 % Wilson interval: it speaks for all k only as far as those decided on were
    picked without looking. None if nothing was decided on.
    """

    k: int
    decided: int
    rejected: int
    rate: Interval | None


def precision_at(found: Outcomes) -> list[Precision]:
    """Precision for k = 10, 20, 50, 100 and so on, and last for all scored samples. Equals count as equally high."""
    ks = [step * 10**power for power in range(1, 9) for step in (1, 2, 5)]
    return [_at(found, k) for k in [k for k in ks if k < found.n] + [found.n] * bool(found.n)]


def _at(found: Outcomes, k: int) -> Precision:
    top = found.above < k
    decided, rejected = int(top.sum()), int(found.rejected[top].sum())
    return Precision(k, decided, rejected, wilson(rejected, decided))


def wilson(hits: int, n: int) -> Interval | None:
    """A proportion with its 95 % Wilson interval, None for n = 0."""
    from scipy.stats import binomtest

    if not n:
        return None
    bounds = binomtest(hits, n).proportion_ci(method="wilson")
    return Interval(hits / n, float(bounds.low), float(bounds.high))
