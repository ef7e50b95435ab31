"""How far down to read to catch a share of all that would be rejected, from the decisions so far.

The ranking is cut into stretches, each with its own rate of rejection. What the decisions leave open about the rates
is drawn many times, and with it the rejections among rows nobody has read. A stretch that was not read has a rate
between its neighbours'. Below the deepest decision nothing is known: there the bounds of every answer are those of two
extremes, nothing to reject at all and as much as in the last stretch that was read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from curation.errors import InputError
from curation.review.outcomes import Interval, Outcomes

SHARES = (0.5, 0.8, 0.9, 0.95, 0.99)

_DRAWS = 1_000
_LOW, _MIDDLE, _HIGH = 0.05, 0.5, 0.95
_STRETCH = 8
"""Fewest decisions in a stretch that was read: with fewer, its rate would be anybody's guess."""
_POINTS = 400

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Needed:
    """Rows to read from the top, in all, to catch a share of what would be rejected (median, 90 % interval).

    `extrapolated`: the interval reaches below the deepest decision.
    """

    share: float
    rows: Interval
    extrapolated: bool


@dataclass(frozen=True)
class Budget:
    """`n` scored samples, `decided` of them decided on and `rejected` rejected, the deepest at row `deepest`.

    `total`: all that would be rejected, known and expected (median, 90 % interval). `depth` (g,) are row counts and
    `caught` (3, g) the share caught by reading so far: median, low and high.
    """

    n: int
    decided: int
    rejected: int
    deepest: int
    total: Interval
    needed: tuple[Needed, ...]
    depth: Ints
    caught: Floats


def budget(found: Outcomes, shares: Sequence[float] = SHARES) -> Budget:
    """What reading would catch. Raises InputError if nothing was decided on yet or a share is not within (0, 1)."""
    if not len(found.above):
        raise InputError(
            "no decision on a scored sample yet, so nothing can be said about those to come",
            "Decide on some first: curation queue, curation decide.",
        )
    if not all(0 < share < 1 for share in shares):
        raise InputError("a share to catch lies between 0 and 1", "For example: --catch 0.9")
    edges = _edges(found)
    rng = np.random.default_rng(0)
    rates = _rates_where_read(found, edges, rng)
    depth = _depths(found, edges)
    # What the tail adds: nothing, anything up to the last rate, and just that.
    curves = [
        _rejected_by(depth, found, edges, _everywhere(rates, tail, rng), rng) for tail in (0.0, None, 1.0)
    ]
    deepest = int(found.above.max()) + 1
    caught = [_caught(curve, depth) for curve in curves]
    # A heavier tail lowers the share that a given depth catches, and raises the depth that a share asks for.
    shown = np.array([_at(caught[1], _MIDDLE), _at(caught[2], _LOW), _at(caught[0], _HIGH)])
    needed: list[Needed] = []
    for share in shares:
        rows = _interval([_reached(share, curve, depth) for curve in caught])
        needed.append(Needed(share, rows, rows.high > deepest))
    total = _interval([curve[:, -1] for curve in curves])
    return Budget(
        found.n, len(found.above), int(found.rejected.sum()), deepest, total, tuple(needed), depth, shown
    )


def _edges(found: Outcomes) -> Ints:
    """Ends of the stretches, from 0 to n: each about twice as deep as those above, and one ends at the last decision.

    Stretches with too few decisions are joined to the next.
    """
    deepest = int(found.above.max()) + 1
    wanted = {found.n, deepest}
    depth = found.n
    while depth > 10:
        depth = -(-depth // 2)
        wanted.add(depth)
    edges = [0]
    for edge in sorted(wanted):
        decided = int(((found.above >= edges[-1]) & (found.above < edge)).sum())
        if edge == deepest and decided < _STRETCH and len(edges) > 1:
            edges.pop()
        if edge >= deepest or decided >= _STRETCH:
            edges.append(edge)
    return np.array(edges, dtype=np.int64)


def _rates_where_read(found: Outcomes, edges: Ints, rng: np.random.Generator) -> dict[int, Floats]:
    """Draws of the rate in every stretch with decisions; beyond the ends 1 and 0."""
    decided = np.histogram(found.above, edges)[0]
    rejected = np.histogram(found.above[found.rejected], edges)[0]
    rates: dict[int, Floats] = {-1: np.ones(_DRAWS), len(decided): np.zeros(_DRAWS)}
    for stretch in np.flatnonzero(decided).tolist():
        hits, misses = rejected[stretch], (decided - rejected)[stretch]
        rates[stretch] = rng.beta(hits + 0.5, misses + 0.5, size=_DRAWS)  # Jeffreys' prior
    return rates


def _everywhere(rates: dict[int, Floats], tail: float | None, rng: np.random.Generator) -> Floats:
    """Draws of the rate in every stretch, shape (draws, stretches). `tail`: the rate below the deepest decision as a
    part of the last one above; None: drawn."""
    n = max(rates)
    every = np.empty((_DRAWS, n))
    for before, after in pairwise(sorted(rates)):
        gap = after - before - 1
        low, high = rates[after][:, None], rates[before][:, None]
        part = -np.sort(-rng.random((_DRAWS, gap)), axis=1)
        if after == n and tail is not None:
            part = np.full((_DRAWS, gap), tail)
        every[:, before + 1 : after] = low + part * (high - low)
        if after < n:
            every[:, after] = rates[after]
    return every


def _depths(found: Outcomes, edges: Ints) -> Ints:
    """Row counts to answer for: evenly spread ones, the ends of the stretches, and known rejections."""
    known = found.above[found.rejected] + 1
    some = known[np.linspace(0, len(known) - 1, min(len(known), _POINTS)).astype(np.int64)]
    even = np.linspace(0, found.n, _POINTS).astype(np.int64)
    return np.unique(np.concatenate([edges, even, some]))


def _rejected_by(
    depth: Ints, found: Outcomes, edges: Ints, rates: Floats, rng: np.random.Generator
) -> Floats:
    """Rejections down to every depth, shape (draws, g): those known, and those drawn among rows nobody has read."""
    known = np.searchsorted(np.sort(found.above[found.rejected]), depth, side="left")
    # equals share a rank, so a few rows may seem to hold more decisions than there are
    unread = np.maximum(np.diff(depth) - np.histogram(found.above, depth)[0], 0)
    stretch = np.searchsorted(edges, depth[1:], side="left") - 1
    expected = np.cumsum(rng.binomial(unread, rates[:, stretch]), axis=1)
    drawn = np.concatenate([np.zeros((_DRAWS, 1), dtype=np.int64), expected], axis=1)
    return (known + drawn).astype(np.float64)


def _caught(rejected: Floats, depth: Ints) -> Floats:
    """Share of all rejections that lie above each depth; with none at all, no row is better than another."""
    total = rejected[:, -1:]
    even = np.broadcast_to(depth / depth[-1], rejected.shape)
    return np.where(total > 0, rejected / np.where(total > 0, total, 1), even)


def _reached(share: float, caught: Floats, depth: Ints) -> Floats:
    """The depth at which each draw reaches a share."""
    first = np.argmax(caught >= share - 1e-12, axis=1)
    return np.asarray(depth[first], dtype=np.float64)


def _at(draws: Floats, quantile: float) -> Floats:
    return np.asarray(np.quantile(draws, quantile, axis=0), dtype=np.float64)


def _interval(draws: Sequence[Floats]) -> Interval:
    """From draws with an empty, a drawn and a full tail."""
    empty, drawn, full = draws
    return Interval(float(_at(drawn, _MIDDLE)), float(_at(empty, _LOW)), float(_at(full, _HIGH)))
