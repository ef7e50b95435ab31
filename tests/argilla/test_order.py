"""Numbers that keep an order and change as little as possible."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from curation.platforms.argilla.order import LIMIT, STEP, increasing, places

NUMBERS = st.integers(-LIMIT, LIMIT) | st.integers(0, 20) | st.none() | st.just(0.5) | st.just("x")


def ascend(numbers: list[int]) -> bool:
    return all(a < b for a, b in pairwise(numbers))


@given(st.lists(NUMBERS, max_size=40))
def test_numbers_always_ascend_and_a_browser_keeps_them(now: list[object]) -> None:
    new = places(now)
    assert len(new) == len(now)
    assert ascend(new)
    assert all(float(number) == number and abs(number) <= LIMIT for number in new)


@given(st.lists(st.integers(0, 1000), max_size=60, unique=True))
def test_with_room_all_that_can_stay_does(now: list[int]) -> None:
    apart = [number * STEP for number in now]
    new = places(apart)
    stay = sum(a == b for a, b in zip(apart, new, strict=True))
    assert stay == len(increasing(apart))


@given(st.lists(st.integers(0, 30), max_size=9))
def test_no_longer_part_increases(values: list[int]) -> None:
    found = increasing(values)
    assert ascend([values[i] for i in found])
    assert ascend(found)
    longest = max(
        (bin(mask).count("1") for mask in range(2 ** len(values))
         if ascend([v for i, v in enumerate(values) if mask >> i & 1])),
        default=0,
    )  # fmt: skip
    assert len(found) == longest


def test_an_arrival_changes_nobody_else() -> None:
    queue = places([None] * 1000)
    assert places(queue) == queue
    for at in (0, 1, 500, 1000):
        arrived = places([*queue[:at], None, *queue[at:]])
        assert arrived[:at] + arrived[at + 1 :] == queue


def test_arrivals_at_one_spot_move_few() -> None:
    queue = places([None] * 50)
    written = 0
    for _ in range(200):
        arrived = places([queue[0], None, *queue[1:]])
        written += len(set(arrived) - set(queue))
        queue = arrived
    assert ascend(queue)
    assert written < 3 * 200


def test_the_order_of_a_million_arrivals_in_front_is_kept() -> None:
    queue = places([None, -LIMIT + 1, 5])
    assert ascend(queue)
    assert abs(queue[0]) <= LIMIT


def test_twenty_thousand_new_places_are_exact_as_the_index_keeps_them() -> None:
    queue = places([None] * 20_000)
    assert len(set(np.array(queue, dtype=np.int64).tolist())) == 20_000
