"""Supervised fine-tuning of a LoRA on a few samples: how directions and states are made.

Deliberately plain (AdamW, cosine schedule with warm-up, one process), with the batching, masking and
answer-only logits of the scorer, so that a direction is fitted on exactly the loss that is later scored.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save
from torch import Tensor
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup
from transformers.pytorch_utils import Conv1D

from curation.errors import AdapterError, InputError, ModelError
from curation.sqsd.adapters import WEIGHTS_FILE, LowRank, linear_modules
from curation.sqsd.batching import collate
from curation.sqsd.cards import TrainSettings
from curation.sqsd.encode import Encoded
from curation.sqsd.loss import answer_losses

OnStep = Callable[[int, int, float], None]
"""Called after every optimiser step with its number (from 1), the number of steps and its loss (nats)."""


def fit_lora(
    model: PreTrainedModel,
    rows: Sequence[Encoded],
    pad_id: int,
    out: Path,
    settings: TrainSettings,
    *,
    base_model: str | None = None,
    on_step: OnStep | None = None,
) -> list[float]:
    """Fine-tune a fresh LoRA on `rows` and save it to the folder `out`; returns the loss curve, one per step.

    The model comes back as it was. On one CPU the same seed gives the same adapter, bit by bit; a GPU adds in
    no fixed order. `base_model` is the name the adapter records. Raises InputError if there are no rows,
    AdapterError if `settings.target` matches no linear module, ModelError if the loss stops being finite.
    """
    if not rows:
        raise InputError(
            "there is nothing to fine-tune on", "Give at least one sample that can be tokenised."
        )
    config = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        target_modules=targets(model, settings.target),
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in linear_modules(model).values()),
        task_type=TaskType.CAUSAL_LM,
    )
    with _seeded(settings.seed, model.device), _adapted(model, config) as tuned:
        losses = _run(tuned, rows, pad_id, settings, on_step)
        _save(tuned, out, base_model)
    return losses


def save_lora(
    model: PreTrainedModel, pairs: Mapping[str, LowRank], out: Path, *, base_model: str | None = None
) -> None:
    """Write low-rank pairs, one for every linear module, as the folder of a LoRA with scaling 1."""
    rank = next(iter(pairs.values())).A.shape[0]
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=targets(model),
        fan_in_fan_out=any(isinstance(m, Conv1D) for m in linear_modules(model).values()),
        task_type=TaskType.CAUSAL_LM,
    )
    with torch.random.fork_rng(), _adapted(model, config) as tuned, torch.no_grad():
        layers = dict(tuned.get_base_model().named_modules())
        for name, pair in pairs.items():
            layer = cast("Any", layers[name])
            layer.lora_A["default"].weight.copy_(pair.A)
            layer.lora_B["default"].weight.copy_(pair.B)
        _save(tuned, out, base_model)


def targets(model: PreTrainedModel, names: Sequence[str] = ()) -> list[str]:
    """Linear modules whose names end with one of `names` (all, if empty), as the shortest list peft takes.

    Raises AdapterError if a name matches none.
    """
    layers = linear_modules(model)
    if names:
        if unknown := [n for n in names if not any(_ends(layer, n) for layer in layers)]:
            leaves = sorted({layer.rsplit(".", 1)[-1] for layer in layers})
            raise AdapterError(
                f"the model has no linear module named {', '.join(unknown)}",
                f"Its linear modules are: {', '.join(leaves)}.",
            )
        return sorted(set(names))
    leaves = sorted({layer.rsplit(".", 1)[-1] for layer in layers})
    meant = {n for n, _ in model.named_modules() if any(_ends(n, leaf) for leaf in leaves)}
    return leaves if meant == set(layers) else sorted(layers)


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith(f".{name}")


@contextmanager
def _seeded(seed: int, device: torch.device) -> Generator[None]:
    """Seed torch for the block and leave the caller's random numbers as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextmanager
def _adapted(model: PreTrainedModel, config: LoraConfig) -> Generator[PeftModel]:
    """The model in training mode with a fresh LoRA; afterwards the bare model, whatever happened."""
    was_training = model.training
    with warnings.catch_warnings():
        # peft asks transformers for a property by its old name; nothing a user could act on
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        tuned = cast("PeftModel", get_peft_model(model, config))
    try:
        yield tuned.train()
    finally:
        tuned.unload()
        model.train(was_training)
        # peft leaves its configuration behind, and would take the model for an adapted one next time
        vars(model).pop("peft_config", None)


def _run(
    model: PeftModel, rows: Sequence[Encoded], pad_id: int, settings: TrainSettings, on_step: OnStep | None
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


def _save(tuned: PeftModel, out: Path, base_model: str | None) -> None:
    """Write the adapter as peft would, without the model card it fills with blanks and local paths."""
    out.mkdir(parents=True, exist_ok=True)
    state = get_peft_model_state_dict(tuned, save_embedding_layers=False)
    tensors = {name: _narrow(tensor.detach().cpu().contiguous()) for name, tensor in state.items()}
    # not save_file, whose files nobody but their owner can read
    (out / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "pt"}))
    config = cast("LoraConfig", tuned.peft_config["default"])
    config.base_model_name_or_path = base_model or config.base_model_name_or_path
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules or ())  # a set's order changes from run to run
    config.save_pretrained(str(out))


def _narrow(tensor: Tensor) -> Tensor:
    """Half precision where it costs under 0.1 %, which halves what is shipped; fp32 where fp16 underflows."""
    half = tensor.half()
    return half if (half.float() - tensor).norm() <= 1e-3 * tensor.norm() else tensor
