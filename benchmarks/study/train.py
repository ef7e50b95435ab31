"""A fine-tune of a fixed number of steps of a fixed number of tokens, whatever the rows: arms differ in rows only."""

from __future__ import annotations

import random
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import nn
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup

from benchmarks.study.data import Row
from benchmarks.study.plan import Recipe
from curation.dynamics.task_vector import Along, TaskVector
from curation.errors import ModelError
from curation.sqsd.adapters import Adapter, linear_modules
from curation.sqsd.batching import collate
from curation.sqsd.loss import answer_losses
from curation.sqsd.models import LoadedModel
from curation.sqsd.train import targets


@dataclass(frozen=True)
class Trained:
    """A model after its fine-tune (for as long as the block lasts), what it took and how the loss went.

    `drift` is how far its weights moved along each direction that was asked for.
    """

    model: PreTrainedModel
    tokens: int
    losses: list[float]
    drift: dict[str, Along]


@contextmanager
def tuned(
    loaded: LoadedModel,
    rows: Sequence[Row],
    recipe: Recipe,
    seed: int,
    directions: Mapping[str, Adapter] | None = None,
) -> Generator[Trained]:
    """Fine-tune the model on the rows, and give it back as it was when the block ends.

    Raises ModelError if the loss stops being finite.
    """
    order = batches([len(row.encoded) for row in rows], recipe.steps, recipe.step_tokens, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        changing = _lora(loaded.model, recipe) if recipe.update == "lora" else _all_weights(loaded.model)
        with changing as parameters:
            moved = TaskVector(loaded.model, directions or {})
            losses = _run(loaded, rows, order, parameters, recipe)
            tokens = sum(len(rows[i].encoded) for batch in order for i in batch)
            yield Trained(loaded.model.eval(), tokens, losses, moved.along())


def batches(lengths: Sequence[int], steps: int, budget: int, seed: int) -> list[list[int]]:
    """Rows of every step: epochs shuffled by the seed, cut where the next row would exceed the budget of tokens."""
    draw = random.Random(seed)
    found: list[list[int]] = [[]]
    waiting: list[int] = []
    while True:
        waiting = waiting or draw.sample(range(len(lengths)), len(lengths))
        if found[-1] and sum(lengths[i] for i in found[-1]) + lengths[waiting[-1]] > budget:
            if len(found) == steps:
                return found
            found.append([])
        found[-1].append(waiting.pop())


def _run(
    loaded: LoadedModel,
    rows: Sequence[Row],
    order: list[list[int]],
    parameters: list[nn.Parameter],
    recipe: Recipe,
) -> list[float]:
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.0)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(recipe.warmup * len(order)), len(order))
    losses: list[float] = []
    for chosen in order:
        batch = collate([rows[i].encoded for i in chosen], loaded.pad_id).to(loaded.model.device)
        loss = answer_losses(loaded.model, batch).mean()
        if not torch.isfinite(loss):
            raise ModelError("a fine-tune of the study diverged", "Lower the learning rate of its plan.")
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(round(loss.item(), 4))
    return losses


@contextmanager
def _lora(model: PreTrainedModel, recipe: Recipe) -> Generator[list[nn.Parameter]]:
    """The model with a fresh LoRA on every linear layer; without it afterwards."""
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=0.0, target_modules=targets(model),
        task_type=TaskType.CAUSAL_LM,
    )  # fmt: skip
    adapted = cast("PeftModel", get_peft_model(model, config))
    try:
        yield [p for p in adapted.parameters() if p.requires_grad]
    finally:
        adapted.unload()
        vars(model).pop("peft_config", None)


@contextmanager
def _all_weights(model: PreTrainedModel) -> Generator[list[nn.Parameter]]:
    """The model with the weights of its linear layers to be trained; with its own again afterwards."""
    weights = [cast("nn.Parameter", layer.weight) for layer in linear_modules(model).values()]
    before = [weight.detach().clone() for weight in weights]
    try:
        yield [weight.requires_grad_() for weight in weights]
    finally:
        for weight, old in zip(weights, before, strict=True):
            weight.requires_grad_(False).data.copy_(old)
            weight.grad = None
