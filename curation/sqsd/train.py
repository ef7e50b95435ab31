"""Supervised fine-tuning of a LoRA on a few samples: how directions and states are made.

Deliberately plain (AdamW, cosine schedule with warm-up, one process), with the batching, masking and
answer-only logits of the scorer, so that a direction is fitted on exactly the loss that is later scored.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup

from curation.errors import ModelError
from curation.sqsd.adapters import linear_modules
from curation.sqsd.batching import collate
from curation.sqsd.encode import Encoded
from curation.sqsd.loss import answer_losses


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """Hyper-parameters of a fit; the defaults suit a few dozen short anchors."""

    rank: int = 8
    alpha: int = 16
    dropout: float = 0.05
    learning_rate: float = 5e-4
    epochs: int = 6
    batch_size: int = 8
    warmup: float = 0.1
    seed: int = 0


def fit_lora(
    model: PreTrainedModel,
    rows: Sequence[Encoded],
    pad_id: int,
    out: Path,
    settings: TrainSettings,
    *,
    on_step: Callable[[int, int, float], None] | None = None,
) -> list[float]:
    """Fine-tune a fresh LoRA on all linear modules of `model` and save it to `out`; returns the loss curve.

    The model's own weights are untouched. `on_step(step, steps, loss)` is called after every step. Raises
    ModelError if the loss stops being finite.
    """
    torch.manual_seed(settings.seed)
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=sorted(linear_modules(model)),
        task_type=TaskType.CAUSAL_LM,
    )
    tuned = cast("PeftModel", get_peft_model(model, config))
    try:
        tuned.train()
        losses = _run(tuned, rows, pad_id, settings, on_step)
        tuned.eval()
        _save(tuned, out)
    finally:
        tuned.unload()
    return losses


def _run(
    model: PeftModel,
    rows: Sequence[Encoded],
    pad_id: int,
    settings: TrainSettings,
    on_step: Callable[[int, int, float], None] | None,
) -> list[float]:
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=settings.learning_rate, weight_decay=0.0)
    order = _epochs(len(rows), settings)
    schedule = get_cosine_schedule_with_warmup(optimizer, round(settings.warmup * len(order)), len(order))
    causal = cast("PreTrainedModel", model.get_base_model())
    losses: list[float] = []
    for step, chosen in enumerate(order, start=1):
        batch = collate([rows[i] for i in chosen], pad_id).to(causal.device)
        loss = answer_losses(causal, batch).mean()
        if not torch.isfinite(loss):
            raise ModelError(
                f"training diverged at step {step}: the loss is not finite", "Lower --learning-rate."
            )
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trainable, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if on_step:
            on_step(step, len(order), losses[-1])
    return losses


def _epochs(n: int, settings: TrainSettings) -> list[list[int]]:
    """Index batches of all epochs, each epoch shuffled by the seed."""
    shuffle = random.Random(settings.seed)  # noqa: S311
    batches: list[list[int]] = []
    for _ in range(settings.epochs):
        order = shuffle.sample(range(n), n)
        batches += [order[i : i + settings.batch_size] for i in range(0, n, settings.batch_size)]
    return batches


def _save(tuned: PeftModel, out: Path) -> None:
    """Save adapter weights in half precision: a direction needs no more, and it halves what is shipped."""
    tuned.peft_config["default"].inference_mode = True
    state = {k: v.half() for k, v in cast("dict[str, Any]", _adapter_state(tuned)).items()}
    tuned.save_pretrained(str(out), state_dict=state, safe_serialization=True)


def _adapter_state(tuned: PeftModel) -> dict[str, torch.Tensor]:
    return {k: v.detach().cpu() for k, v in tuned.state_dict().items() if ".lora_" in k}


def settings_dict(settings: TrainSettings) -> dict[str, Any]:
    return asdict(settings)
