"""`DriftCallback`: a callback of transformers' Trainer, and so of TRL's, that logs parameter dynamics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from curation.dynamics.log import LogWriter, Record
from curation.dynamics.task_vector import Along, TaskVector
from curation.errors import InputError
from curation.settings import get_settings
from curation.sqsd.adapters import Adapter, total_norm
from curation.sqsd.load import find_adapter


class DriftCallback(TrainerCallback):
    """Logs every `every` optimiser steps, and after the last, where the run stands along both directions.

        trainer = Trainer(..., callbacks=[DriftCallback("danger", "safety", "drift.jsonl")])

    `danger` and `safety` are directions of the model that is trained: adapter directories, their names in the
    home's folder `directions`, or loaded adapters. `out` gets JSON lines (see `curation.dynamics.log`);
    `per_module` adds every module's [cosine, projection] to them. The run may train a LoRA or the weights
    themselves. Modules that the directions leave out, or that the run does, are named in the header.

    Training is the same with it and without it. A log that cannot be written is a warning, once. A resumed run
    goes on with its log: give the callback when the trainer is made, from the same weights as the first time.
    With several processes the first one logs, and must hold whole weights (no FSDP, no ZeRO-3).

    Raises InputError or AdapterError, before the first step, if directions, model or log do not fit together.
    """

    def __init__(
        self,
        danger: str | Path | Adapter,
        safety: str | Path | Adapter,
        out: str | Path,
        every: int = 10,
        *,
        per_module: bool = False,
    ) -> None:
        if every < 1:
            raise InputError(f"recording every {every} steps", "Give a whole number of at least 1.")
        self.every, self.per_module = every, per_module
        self._directions = {"danger": _load(danger), "safety": _load(safety)}
        self._log = LogWriter(Path(out))
        self._vector: TaskVector | None = None
        self._record: Record | None = None

    def on_init_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Keep the start: when training is resumed, the checkpoint is loaded before it begins."""
        self._remember(state, kwargs["model"])

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        if state.global_step == 0:
            self._remember(
                state, kwargs["model"]
            )  # anew: what the trainer was made with may have changed since
        if self._vector is None:
            raise InputError(
                "a run is resumed whose start the drift callback has not seen",
                "Give the callback when the trainer is made: Trainer(..., callbacks=[DriftCallback(...)]).",
            )
        self._record = None
        self._log.begin(self._header(self._vector), state.global_step)

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._write()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        step = state.global_step
        if self._vector is None or not (step % self.every == 0 or step == state.max_steps):
            return
        along = self._vector.along()
        self._record = {
            "step": step,
            "epoch": state.epoch,
            "loss": None,
            **{name: _as_json(one, self.per_module) for name, one in along.items()},
        }

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The trainer logs after the step: its mean loss since it last did so belongs to that step's line."""
        loss = (kwargs.get("logs") or {}).get("loss")
        if self._record is not None and isinstance(loss, int | float):
            self._record["loss"] = loss

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._write()  # a run that goes on from this checkpoint must find the line

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._write()

    def _remember(self, state: TrainerState, model: nn.Module) -> None:
        self._vector = None  # before a second copy is made
        if state.is_world_process_zero:
            self._vector = TaskVector(model, self._directions)

    def _write(self) -> None:
        """The line waits for its loss until something else begins."""
        if self._record is not None:
            self._log.append(self._record)
        self._record = None

    def _header(self, vector: TaskVector) -> Record:
        return {
            "reads": "danger - safety; higher = riskier. Sums over modules of the task vector's cosine with and "
            "projection on each direction",
            "update": vector.update,
            "every": self.every,
            "start": vector.start(),
            **{
                name: {
                    "fingerprint": direction.fingerprint,
                    "norm": total_norm(direction.modules.values()),
                    "modules": len(direction.modules),
                    "not_trained": vector.not_trained(name),
                }
                for name, direction in self._directions.items()
            },
            "not_covered": vector.not_covered,
            "shared": vector.shared,
        }


def _as_json(along: Along, per_module: bool) -> Record:
    found: Record = {"cosine": along.cosine, "projection": along.projection, "norm": along.norm}
    return found | {"modules": along.modules} if per_module else found


def _load(direction: str | Path | Adapter) -> Adapter:
    if isinstance(direction, Adapter):
        return direction
    return Adapter.load(find_adapter(str(direction), get_settings().home))
