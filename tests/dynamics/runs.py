"""Short real training runs of tiny models, and what they did the dense way."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel, Trainer, TrainerCallback, TrainingArguments
from transformers.pytorch_utils import Conv1D

from curation.sqsd.adapters import Adapter, linear_modules
from curation.sqsd.train import targets
from tests.sqsd.tiny import Kind, tiny_model

STEPS = 6


def rows(n: int = 32, length: int = 10) -> list[dict[str, list[int]]]:
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 250, (n, length), generator=draw).tolist()
    return [{"input_ids": row, "labels": row} for row in ids]


def lora(kind: Kind = "llama", *, names: tuple[str, ...] = (), seed: int = 3, **config: Any) -> PeftModel:
    """A tiny model with a fresh LoRA, its dropout on, as a run would make it."""
    model = tiny_model(kind)
    fan_in_fan_out = any(isinstance(m, Conv1D) for m in linear_modules(model).values())
    torch.manual_seed(seed)
    settings = LoraConfig(
        r=2, lora_alpha=6, lora_dropout=0.1, target_modules=targets(model, names), task_type=TaskType.CAUSAL_LM,
        fan_in_fan_out=fan_in_fan_out, **config,
    )  # fmt: skip
    return cast("PeftModel", get_peft_model(model, settings))


def loaded_lora(folder: Path) -> PeftModel:
    """A tiny model that goes on training a saved adapter."""
    return PeftModel.from_pretrained(tiny_model(), str(folder), is_trainable=True)


def full(kind: Kind = "llama") -> PreTrainedModel:
    """A tiny model, all of whose weights are trained."""
    return tiny_model(kind).requires_grad_(True)


def trainer(model: nn.Module, out: Path, callbacks: list[TrainerCallback], **given: Any) -> Trainer:
    settings: dict[str, Any] = {
        "max_steps": STEPS, "per_device_train_batch_size": 2, "learning_rate": 1e-2, "logging_steps": 1,
        "save_strategy": "no", "report_to": [], "use_cpu": True, "disable_tqdm": True, "dataloader_pin_memory": False,
    }  # fmt: skip
    args = TrainingArguments(output_dir=str(out), **(settings | given))
    return Trainer(model=model, args=args, train_dataset=rows(), eval_dataset=rows(4), callbacks=callbacks)  # type: ignore[arg-type]


def weights(model: nn.Module) -> dict[str, Tensor]:
    """The weight (out, in) that every linear layer computes with, W or W + s B A, dense, by its bare name."""
    bare = model.get_base_model() if isinstance(model, PeftModel) else model
    found: dict[str, Tensor] = {}
    for name, layer in bare.named_modules():
        base = cast("nn.Module", getattr(layer, "base_layer", layer))
        if type(base) not in (nn.Linear, Conv1D) or name.endswith("base_layer") or "lora_" in name:
            continue
        weight = cast("Tensor", base.weight).detach().double()
        weight = weight.T if isinstance(base, Conv1D) else weight
        if base is not layer:
            A, B = (layer.get_submodule(f"lora_{f}.default").weight.detach().double() for f in "AB")  # type: ignore[union-attr]
            weight = weight + cast("Any", layer).scaling["default"] * (B @ A)
        found[name] = weight.clone()
    return found


class Spy(TrainerCallback):
    """Keeps the dense weights after every step."""

    def __init__(self, model: nn.Module) -> None:
        self.start = weights(model)
        self.after: dict[int, dict[str, Tensor]] = {}

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.after[state.global_step] = weights(kwargs["model"])

    def dense(self, step: int, direction: Adapter, modules: list[str] | None = None) -> dict[str, Any]:
        """What a log should say of a step, with dense matrices."""
        found: dict[str, Any] = {"cosine": 0.0, "projection": 0.0, "norm": 0.0, "modules": {}}
        for name in modules or list(direction.modules):
            V = direction.modules[name].dense().double()
            moved = self.after[step][name] - self.start[name]
            dot, norm = (moved * V).sum().item(), moved.norm().item()
            cosine = dot / (norm * V.norm().item()) if norm else 0.0
            found["cosine"] += cosine
            found["projection"] += dot / V.norm().item()
            found["norm"] += norm**2
            found["modules"][name] = [cosine, dot / V.norm().item()]
        return found | {"norm": found["norm"] ** 0.5}
