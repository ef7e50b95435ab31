"""Batches under a token budget, from a stream, with little padding."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Literal, TypeVar

import torch
from torch import Tensor

from curation.sqsd.encode import Encoded

LOOK_AHEAD = 1024
"""Samples read ahead and sorted by length: enough to fill batches evenly, little enough to stay a stream."""

_BATCH_PRICE = 48
"""Overhead of one more batch, in tokens: it must save this much padding to be worth its own."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Batch:
    """Token ids and masks, all (n, T). `attention_mask` is None for right padding: causal attention never
    looks at it, and without a mask the fast attention kernels stay usable."""

    ids: Tensor
    trained: Tensor
    attention_mask: Tensor | None = None
    position_ids: Tensor | None = None

    @property
    def targets(self) -> Tensor:
        """Where a logit is needed: position t predicts token t + 1. Boolean, (n, T)."""
        return torch.nn.functional.pad(self.trained[:, 1:], (0, 1))

    @property
    def labels(self) -> Tensor:
        """The trained tokens of all rows one after another, in the order of `targets`. (trained tokens,)"""
        return self.ids[self.trained]

    def to(self, device: torch.device) -> Batch:
        moved = [None if t is None else t.to(device) for t in (self.attention_mask, self.position_ids)]
        return Batch(self.ids.to(device), self.trained.to(device), *moved)


def collate(rows: Sequence[Encoded], pad_id: int, side: Literal["right", "left"] = "right") -> Batch:
    """Pad to the longest row. Left padding needs the masks that right padding does without."""
    width = max(map(len, rows))
    ids = torch.full((len(rows), width), pad_id)
    trained = torch.zeros((len(rows), width), dtype=torch.bool)
    real = torch.zeros((len(rows), width), dtype=torch.long)
    for i, row in enumerate(rows):
        here = slice(0, len(row)) if side == "right" else slice(width - len(row), width)
        ids[i, here] = torch.tensor(row.ids)
        trained[i, here] = torch.tensor(row.trained)
        real[i, here] = 1
    if side == "right":
        return Batch(ids, trained)
    return Batch(ids, trained, real, (real.cumsum(1) - 1).clamp_min(0))


def budgeted(
    rows: Iterable[T], length: Callable[[T], int], budget: int, look_ahead: int = LOOK_AHEAD
) -> Iterator[list[T]]:
    """Group a stream into lists whose padded size (rows x longest) stays within `budget` tokens.

    Sorted by length within each look-ahead window, and cut where padding and the number of batches together
    cost least. A row longer than the budget comes alone.
    """
    stream = iter(rows)
    while window := sorted(islice(stream, look_ahead), key=length):
        cuts = _cheapest_cuts([length(row) for row in window], budget)
        for start, stop in pairwise(cuts):
            yield window[start:stop]


def _cheapest_cuts(lengths: Sequence[int], budget: int) -> list[int]:
    """Where to cut ascending lengths: least padded tokens plus a fixed price per batch, by dynamic programming."""
    best: list[tuple[float, int]] = [(0.0, 0)]  # cheapest way to group the first i rows, and its last cut
    for stop, longest in enumerate(lengths, start=1):
        first = min(stop - 1, max(0, stop - budget // longest))
        best.append(
            min((best[cut][0] + (stop - cut) * longest + _BATCH_PRICE, cut) for cut in range(first, stop))
        )
    cuts = [len(lengths)]
    while cuts[-1]:
        cuts.append(best[cuts[-1]][1])
    return cuts[::-1]
