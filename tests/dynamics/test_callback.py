"""Real training runs: what is logged is what happened, and nothing else changes."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from curation.dynamics import DriftCallback
from curation.dynamics.log import Log, read_log
from curation.errors import AdapterError, InputError
from curation.sqsd.adapters import Adapter
from tests.dynamics.runs import STEPS, Spy, full, loaded_lora, lora, trainer, weights
from tests.sqsd.tiny import Kind, random_adapter, save_adapter, tiny_model

Make = Callable[[], nn.Module]


def directions(kind: Kind = "llama") -> tuple[Adapter, Adapter]:
    model = tiny_model(kind)
    return random_adapter(model, 3, seed=1), random_adapter(model, 2, seed=2)


def only(adapter: Adapter, *ends: str) -> Adapter:
    return replace(adapter, modules={n: p for n, p in adapter.modules.items() if n.endswith(ends)})


def run(
    model: nn.Module, folder: Path, every: int = 2, kind: Kind = "llama", **given: Any
) -> tuple[Log, Spy]:
    log, spy = folder / "drift.jsonl", Spy(model)
    callback = DriftCallback(*directions(kind), log, every, per_module=True)
    trainer(model, folder / "run", [callback, spy], **given).train()
    return read_log(log), spy


def check_dense(log: Log, spy: Spy, kind: Kind = "llama") -> None:
    for record in log.records:
        for name, direction in zip(("danger", "safety"), directions(kind), strict=True):
            expected, found = spy.dense(record["step"], direction), record[name]
            modules = {m: pytest.approx(v, rel=1e-4, abs=1e-6) for m, v in expected.pop("modules").items()}
            assert found["modules"] == modules
            assert {k: found[k] for k in expected} == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen3"])
@pytest.mark.parametrize("make", [lora, full])
def test_what_is_logged_is_what_dense_matrices_give(tmp_path: Path, make: Any, kind: Kind) -> None:
    log, spy = run(make(kind), tmp_path, kind=kind)
    assert [r["step"] for r in log.records] == [2, 4, 6]
    assert log.header["update"] == make.__name__
    assert log.records[-1]["danger"]["norm"] > 0.01
    check_dense(log, spy, kind)


def test_a_run_from_a_loaded_adapter_is_measured_from_there(tmp_path: Path) -> None:
    state = save_adapter(random_adapter(tiny_model(), 4, seed=9), tmp_path / "state")
    # so small a rate that the run is the small difference of two large products
    log, spy = run(loaded_lora(state), tmp_path, learning_rate=1e-5)
    assert 0 < log.records[-1]["danger"]["norm"] < 0.1
    check_dense(log, spy)


@pytest.mark.parametrize("make", [lora, full])
def test_training_is_the_same_with_and_without_it(tmp_path: Path, make: Make) -> None:
    plain, watched = make(), make()
    losses: list[list[Any]] = []
    for name, model, callbacks in (
        ("plain", plain, []),
        ("watched", watched, [DriftCallback(*directions(), tmp_path / "drift.jsonl", 1)]),
    ):
        torch.manual_seed(0)
        done = trainer(model, tmp_path / name, callbacks, gradient_accumulation_steps=2)
        done.train()
        losses.append([entry.get("loss") for entry in done.state.log_history])
    assert losses[0] == losses[1]
    before, after = plain.state_dict(), watched.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_steps_are_optimiser_steps_and_losses_are_those_of_their_step(tmp_path: Path) -> None:
    callback = DriftCallback(*directions(), tmp_path / "drift.jsonl", every=3)
    done = trainer(lora(), tmp_path / "run", [callback], gradient_accumulation_steps=4, max_steps=7)
    done.train()
    logged = {entry["step"]: entry["loss"] for entry in done.state.log_history if "loss" in entry}
    records = read_log(tmp_path / "drift.jsonl").records
    assert [(r["step"], r["loss"]) for r in records] == [(s, logged[s]) for s in (3, 6, 7)]


def test_a_loss_the_trainer_does_not_log_is_unknown(tmp_path: Path) -> None:
    log, _ = run(lora(), tmp_path, logging_steps=4)
    assert [r["loss"] is None for r in log.records] == [True, False, True]


def test_the_last_step_is_logged_as_trained_though_another_is_loaded_after_it(tmp_path: Path) -> None:
    model = full()
    log, spy = run(
        model, tmp_path, every=4, learning_rate=0.5, load_best_model_at_end=True,
        save_strategy="steps", save_steps=1, eval_strategy="steps", eval_steps=1,
        metric_for_best_model="eval_loss", greater_is_better=True,  # so that an early step is the best
    )  # fmt: skip
    name = "model.layers.0.mlp.up_proj"
    assert not torch.equal(weights(model)[name], spy.after[6][name])
    assert [r["step"] for r in log.records] == [4, 6]
    check_dense(log, spy)


def resumable(make: Make, folder: Path, every: int = 1, callbacks: tuple[TrainerCallback, ...] = ()) -> Any:
    callback = DriftCallback(*directions(), folder / "drift.jsonl", every)
    return trainer(make(), folder / "run", [callback, *callbacks], save_strategy="steps", save_steps=2)


class Crash(TrainerCallback):
    """Stops the run in the middle of step 6, after checkpoint 4 and the line of step 5."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 6:
            raise KeyboardInterrupt


@pytest.mark.parametrize("make", [lora, full])
def test_a_resumed_run_goes_on_with_its_log_and_repeats_no_step(tmp_path: Path, make: Make) -> None:
    resumable(make, tmp_path / "whole").train()
    with pytest.raises(KeyboardInterrupt):
        resumable(make, tmp_path / "parts", callbacks=(Crash(),)).train()
    log = tmp_path / "parts" / "drift.jsonl"
    assert [r["step"] for r in read_log(log).records] == [1, 2, 3, 4, 5]
    log.write_bytes(log.read_bytes() + b'{"step": 6, "dang')  # as a crash while writing leaves it

    again = (lambda: lora(seed=77)) if make is lora else make  # another A, whose B is zero: the same start
    resumable(again, tmp_path / "parts").train(
        resume_from_checkpoint=str(tmp_path / "parts/run/checkpoint-4")
    )

    whole, parts = read_log(tmp_path / "whole" / "drift.jsonl"), read_log(log)
    assert [r["step"] for r in parts.records] == [1, 2, 3, 4, 5, 6]
    assert parts.header == whole.header
    for metric in ("cosine", "projection", "norm"):
        assert parts.column("danger", metric) == pytest.approx(whole.column("danger", metric), rel=1e-5)


def test_every_checkpoint_finds_its_line(tmp_path: Path) -> None:
    seen: list[list[int]] = []

    class AtSave(TrainerCallback):
        def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            seen.append([r["step"] for r in read_log(tmp_path / "drift.jsonl").records])

    resumable(lora, tmp_path, every=2, callbacks=(AtSave(),)).train()
    assert seen == [[2], [2, 4], [2, 4, 6]]


def test_resuming_from_another_start_is_refused(tmp_path: Path) -> None:
    resumable(full, tmp_path).train()
    moved = full()
    moved.get_submodule("model.layers.1.mlp.up_proj").weight.data += 0.01  # type: ignore[operator]
    with pytest.raises(InputError, match="another start"):
        resumable(lambda: moved, tmp_path).train(
            resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2")
        )


def test_a_callback_that_comes_after_a_resumed_trainer_was_made_is_refused(tmp_path: Path) -> None:
    resumable(full, tmp_path).train()
    late = trainer(full(), tmp_path / "run", [])
    late.add_callback(DriftCallback(*directions(), tmp_path / "late.jsonl"))
    with pytest.raises(InputError, match="has not seen"):
        late.train(resume_from_checkpoint=str(tmp_path / "run" / "checkpoint-2"))


def test_a_callback_that_comes_late_is_in_time_for_a_new_run(tmp_path: Path) -> None:
    model = lora()
    late, spy = trainer(model, tmp_path / "run", []), Spy(model)
    late.add_callback(DriftCallback(*directions(), tmp_path / "drift.jsonl", 2, per_module=True))
    late.add_callback(spy)
    late.train()
    check_dense(read_log(tmp_path / "drift.jsonl"), spy)


def test_a_new_run_sets_an_earlier_log_aside(tmp_path: Path) -> None:
    first, _ = run(lora(), tmp_path)
    second, _ = run(lora(), tmp_path, every=3)
    assert read_log(tmp_path / "drift.jsonl.1").records == first.records
    assert [r["step"] for r in second.records] == [3, 6]


def test_a_log_that_cannot_be_written_is_one_warning_and_no_line_is_lost(tmp_path: Path) -> None:
    blocked = tmp_path / "logs"
    blocked.write_text("a file where the folder should be")

    class Unblock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 4:
                blocked.unlink()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        callback = DriftCallback(*directions(), blocked / "drift.jsonl", 1)
        trainer(lora(), tmp_path / "run", [Unblock(), callback]).train()
    assert len([w for w in caught if "cannot be written" in str(w.message)]) == 1
    assert [r["step"] for r in read_log(blocked / "drift.jsonl").records] == list(range(1, STEPS + 1))


def test_modules_that_do_not_meet_are_named(tmp_path: Path) -> None:
    danger, safety = directions()
    model = lora(names=("q_proj", "up_proj"), modules_to_save=["embed_tokens"])
    spy = Spy(model)
    callback = DriftCallback(
        only(danger, "q_proj", "v_proj"), safety, tmp_path / "drift.jsonl", 3, per_module=True
    )
    trainer(model, tmp_path / "run", [callback, spy]).train()
    log = read_log(tmp_path / "drift.jsonl")
    assert log.header["danger"]["not_trained"] == [f"model.layers.{i}.self_attn.v_proj" for i in (0, 1)]
    assert len(log.header["safety"]["not_trained"]) == 10
    assert log.header["not_covered"] == ["model.embed_tokens.modules_to_save.default.weight"]
    queries = [f"model.layers.{i}.self_attn.q_proj" for i in (0, 1)]
    expected = spy.dense(6, danger, queries)
    assert log.records[-1]["danger"]["projection"] == pytest.approx(expected["projection"], rel=1e-4)
    assert list(log.records[-1]["danger"]["modules"]) == queries


def test_all_weights_in_training_name_what_no_direction_covers(tmp_path: Path) -> None:
    log, _ = run(full(), tmp_path)
    assert log.header["not_covered"] == [
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.layers.*.input_layernorm.weight",
        "model.layers.*.post_attention_layernorm.weight",
        "model.norm.weight",
    ]


def test_a_weight_with_two_names_counts_once(tmp_path: Path) -> None:
    model = full()
    layers: Any = model.model.layers
    layers[1].mlp.up_proj.weight = layers[0].mlp.up_proj.weight
    log, spy = run(model, tmp_path)
    assert log.header["shared"] == ["model.layers.1.mlp.up_proj"]
    danger, _ = directions()
    once = [n for n in danger.modules if n != "model.layers.1.mlp.up_proj"]
    assert log.records[-1]["danger"]["norm"] == pytest.approx(spy.dense(6, danger, once)["norm"], rel=1e-4)
    assert log.header["danger"]["not_trained"] == []


def test_a_tied_head_that_a_direction_covers_is_followed(tmp_path: Path) -> None:
    model = full("qwen3")
    danger, safety = directions("qwen3")
    head = random_adapter(tiny_model("qwen3"), 2, seed=5).modules["model.layers.0.mlp.up_proj"]
    head = replace(head, B=torch.randn(model.config.vocab_size, 2))
    with_head = replace(danger, modules={**danger.modules, "lm_head": head})
    spy = Spy(model)
    callback = DriftCallback(with_head, safety, tmp_path / "drift.jsonl", 6)
    trainer(model, tmp_path / "run", [callback, spy]).train()
    log = read_log(tmp_path / "drift.jsonl")
    assert "model.embed_tokens.weight" not in log.header["not_covered"]
    expected = spy.dense(6, with_head)["projection"]
    assert log.records[-1]["danger"]["projection"] == pytest.approx(expected, rel=1e-4)


def test_a_direction_of_another_model_is_refused_before_the_first_step(tmp_path: Path) -> None:
    danger, safety = directions()
    name, pair = next(iter(danger.modules.items()))
    wide = replace(danger, modules={**danger.modules, name: replace(pair, A=torch.randn(3, 40))})
    for wrong, words in ((wide, "out, in"), (directions("gpt2")[0], "does not have")):
        with pytest.raises(AdapterError, match=words):
            trainer(lora(), tmp_path, [DriftCallback(wrong, safety, tmp_path / "d.jsonl")])


def test_what_is_neither_lora_nor_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AdapterError, match="no plain LoRA"):
        trainer(lora(use_dora=True), tmp_path, [DriftCallback(*directions(), tmp_path / "d.jsonl")])
    danger, safety = directions()
    callback = DriftCallback(only(danger, "v_proj"), safety, tmp_path / "d.jsonl")
    with pytest.raises(AdapterError, match="trains none"):
        trainer(lora(names=("q_proj",)), tmp_path, [callback])


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "train.jsonl"
    file.write_text('{"messages": []}\n')
    with pytest.raises(InputError, match="no log"):
        trainer(lora(), tmp_path / "run", [DriftCallback(*directions(), file)]).train()
    assert file.read_text() == '{"messages": []}\n'
