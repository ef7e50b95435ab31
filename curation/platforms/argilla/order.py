"""The queue as whole numbers that change as little as possible.

A record is written whenever its number changes, and writing is slow. So numbers lie far apart, those whose order is
right already are kept, and the others get numbers in between. At every moment of a push, whatever was written stands
in its right place among what stays.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

STEP = 2**32
"""From one number to the next of a new queue: that many times another fits in between, halving."""

LIMIT = 2**53 - 1
"""The largest whole number that a browser keeps exactly."""


def places(now: Sequence[object]) -> list[int]:
    """Numbers, each higher than the one before; as many as possible are those there are `now`.

    What is no whole number up to LIMIT counts as none.
    """
    old = [_number(value) for value in now]
    n = len(old)
    kept = increasing(old)
    new: list[int] = []
    low: int | None = None
    for i in [*kept, n]:
        high = old[i] if i < n else None
        missing = i - len(new)
        if low is not None and high is not None and high - low <= missing:
            continue  # no room: what stands at its end moves too
        new += _between(low, high, missing)
        if high is not None:
            new.append(high)
            low = high
    if any(abs(place) > LIMIT for place in new):
        return _between(None, None, n)
    return new


def increasing(values: Sequence[int | None]) -> list[int]:
    """Positions of the longest part of the values that increases; one of them, if there are several."""
    ends: list[int] = []  # lowest last value of an increasing part of each length
    at: list[int] = []  # its position
    before: list[int] = [-1] * len(values)
    for i, value in enumerate(values):
        if value is None:
            continue
        length = bisect_left(ends, value)
        before[i] = at[length - 1] if length else -1
        ends[length : length + 1] = [value]
        at[length : length + 1] = [i]
    found: list[int] = []
    i = at[-1] if at else -1
    while i >= 0:
        found.append(i)
        i = before[i]
    return found[::-1]


def _between(low: int | None, high: int | None, count: int) -> list[int]:
    if low is not None and high is not None:
        return [low + (high - low) * (i + 1) // (count + 1) for i in range(count)]
    if high is not None:
        return [high - STEP * (count - i) for i in range(count)]
    return [(low or 0) + STEP * (i + 1) for i in range(count)]


def _number(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LIMIT:
        return value
    return None
