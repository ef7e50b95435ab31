"""Cross-entropy of the trained tokens only: logits are computed where there are labels and nowhere else."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from curation.sqsd.batching import Batch


def token_losses(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Cross-entropy of each trained token of the batch, fp32, in the order of `batch.labels`."""
    with _head_sees_only(model, batch.targets):
        out = model(
            input_ids=batch.ids,
            attention_mask=batch.attention_mask,
            position_ids=batch.position_ids,
            use_cache=False,
        )
    return nn.functional.cross_entropy(out.logits[0].float(), batch.labels, reduction="none")


def answer_losses(model: PreTrainedModel, batch: Batch) -> Tensor:
    """Mean cross-entropy over the trained tokens of each row, fp32, (n,)."""
    return row_means(token_losses(model, batch), batch)


def row_means(values: Tensor, batch: Batch) -> Tensor:
    """Mean over each row's trained tokens of values given in the order of `batch.labels`, (n,)."""
    counts = batch.trained.sum(1)
    rows = torch.repeat_interleave(torch.arange(len(counts), device=values.device), counts)
    return torch.zeros(len(counts), device=values.device).index_add(0, rows, values) / counts


@contextmanager
def _head_sees_only(model: PreTrainedModel, targets: Tensor) -> Generator[None]:
    """Let the output head see only the chosen positions, (1, chosen, hidden).

    A hook rather than our own head call, so that whatever the architecture does after it (soft-capping,
    scaling) stays in place.
    """

    def select(_: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor]:
        return (cast("Tensor", args[0])[targets].unsqueeze(0),)

    handle = cast("nn.Module", model.get_output_embeddings()).register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()
