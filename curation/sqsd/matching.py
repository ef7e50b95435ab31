"""Directions from gradients, without training: where a step on the anchors would move the model as it is.

    V_m = -(1/n) sum_i g_im / |g_i|        g_i: gradient of anchor i's loss on its first answer tokens, all modules

A sample's update -g, compared with it by the global cosine, gives what He, Xia and Henderson (arXiv 2404.01099)
call gradient matching. V is kept as a low-rank pair per module, the best of its rank: a direction like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from curation.sqsd.adapters import LowRank, linear_modules
from curation.sqsd.batching import collate
from curation.sqsd.cards import FIRST_TOKENS
from curation.sqsd.encode import Encoded
from curation.sqsd.loss import answer_losses

OnRow = Callable[[int, int], None]
"""Called after every anchor with how many are done, and how many there are."""


@dataclass(frozen=True)
class MeanStep:
    """A direction by module, of norm 1 over all of them, and the share of its squared norm that its rank keeps."""

    modules: dict[str, LowRank]
    kept: float


def mean_step(
    model: PreTrainedModel,
    rows: Sequence[Encoded],
    rank: int,
    first_tokens: int = FIRST_TOKENS,
    on_row: OnRow | None = None,
) -> MeanStep:
    """The mean of the rows' steepest descents, each of length 1, at rank `rank` per module.

    Takes as much memory again as two copies of the model's linear layers.
    """
    layers = linear_modules(model)
    weights = {name: cast("nn.Parameter", layer.weight) for name, layer in layers.items()}
    total = {name: torch.zeros_like(weight, dtype=torch.float32) for name, weight in weights.items()}
    try:
        for weight in weights.values():
            weight.requires_grad_(True)
        for done, row in enumerate(rows, start=1):
            batch = collate([row.opening(first_tokens)], 0).to(model.device)
            gradients = torch.autograd.grad(answer_losses(model, batch).sum(), list(weights.values()))
            length = torch.stack([g.float().norm() for g in gradients]).norm()
            for summed, gradient in zip(total.values(), gradients, strict=True):
                summed -= gradient.float() / length
            if on_row:
                on_row(done, len(rows))
    finally:
        for weight in weights.values():
            weight.requires_grad_(False)
    size = torch.stack([summed.norm() for summed in total.values()]).norm()
    modules = {
        name: _best_of_rank((summed.T if isinstance(layers[name], Conv1D) else summed) / size, rank)
        for name, summed in total.items()
    }
    kept = sum(pair.norm() ** 2 for pair in modules.values())
    return MeanStep(modules, kept)


def _best_of_rank(V: Tensor, rank: int) -> LowRank:
    """The closest pair of that rank, by singular values. (out, in), on the CPU."""
    U, S, Vh = torch.linalg.svd(V.cpu(), full_matrices=False)
    root = S[:rank].sqrt()
    short = max(rank - len(root), 0)  # of a module smaller than the rank
    right, left = root[:, None] * Vh[:rank], U[:, :rank] * root
    return LowRank(nn.functional.pad(right, (0, 0, 0, short)), nn.functional.pad(left, (0, short)), 1.0)
