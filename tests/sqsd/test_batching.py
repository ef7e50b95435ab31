"""Batches keep every row once, stay within the budget and waste little."""

from __future__ import annotations

import itertools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from curation.sqsd.batching import budgeted, collate
from curation.sqsd.encode import Encoded


@given(st.lists(st.integers(1, 300)), st.integers(1, 500), st.integers(1, 50))
def test_every_row_comes_once_and_batches_fit_the_budget(
    lengths: list[int], budget: int, look_ahead: int
) -> None:
    groups = list(budgeted(lengths, lambda n: n, budget, look_ahead))
    assert sorted(itertools.chain(*groups)) == sorted(lengths)
    assert all(len(g) * max(g) <= budget or len(g) == 1 for g in groups)


def test_a_stream_is_read_only_as_far_ahead_as_stated() -> None:
    taken = 0

    def stream():
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield 1

    next(budgeted(stream(), lambda n: n, 10, look_ahead=20))
    assert taken == 20


def test_padding_of_mixed_lengths_stays_under_five_percent() -> None:
    draw = random.Random(0)
    lengths = [round(draw.lognormvariate(4.6, 0.7)) + 10 for _ in range(2000)]
    groups = list(budgeted(lengths, lambda n: n, 4096))
    padded = sum(len(g) * max(g) for g in groups)
    assert padded / sum(lengths) - 1 < 0.05


@pytest.mark.parametrize("side", ["right", "left"])
def test_collate_keeps_ids_and_trained_tokens_and_masks_left_padding(side: str) -> None:
    rows = [Encoded((5, 6, 7), (False, True, True), False), Encoded((8, 9), (False, True), False)]
    batch = collate(rows, 0, side)  # type: ignore[arg-type]
    assert batch.labels.tolist() == [6, 7, 9]
    assert batch.ids[0].tolist() == [5, 6, 7]
    assert (batch.attention_mask is None) == (side == "right")
    if side == "left":
        assert batch.position_ids is not None
        assert batch.position_ids[1].tolist() == [0, 0, 1]
        assert batch.ids[1].tolist() == [0, 8, 9]
    # a logit is needed exactly one position before each label
    assert torch.equal(torch.roll(batch.targets, 1, 1), batch.trained)
