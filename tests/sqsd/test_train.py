from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from curation.errors import AdapterError, InputError, ModelError
from curation.samples import Sample
from curation.sqsd.adapters import CONFIG_FILE, WEIGHTS_FILE, Adapter, linear_modules
from curation.sqsd.cards import TrainSettings
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.steering import steered
from curation.sqsd.train import fit_lora, targets
from tests.sqsd.tiny import KINDS, Kind, tiny_model, tiny_tokenizer

SHORT = TrainSettings(rank=2, alpha=4, epochs=3, batch_size=2, learning_rate=5e-2)
TEXTS = [
    ("Hello?", "Hi there."),
    ("Say a number between one and ten.", "Seven"),
    ("Why?", "Because."),
    ("Hé 日本", "ok"),
]


def rows(texts: list[tuple[str, str]] = TEXTS) -> list[Encoded]:
    tokenizer = tiny_tokenizer()
    chats = [[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in texts]
    return [encode(Sample.from_messages(chat), tokenizer, 512) for chat in chats]


def fit(model: PreTrainedModel, out: Path, settings: TrainSettings = SHORT, **kwargs: Any) -> list[float]:
    return fit_lora(model, rows(), 0, out, settings, **kwargs)


def hf_loss(model: Any, row: Encoded) -> float:
    """The mean answer loss of one row as transformers computes it from labels."""
    ids = torch.tensor([row.ids])
    labels = torch.where(torch.tensor([row.trained]), ids, -100)
    with torch.no_grad():
        return model(input_ids=ids, labels=labels).loss.item()


def test_the_same_seed_gives_the_same_adapter_and_another_seed_another(tmp_path: Path) -> None:
    model = tiny_model()
    torch.manual_seed(1)
    first = fit(model, tmp_path / "a")
    torch.manual_seed(2)  # whatever the caller's generator holds
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # peft warns if it finds traces of the first run
        second = fit(model, tmp_path / "b")
    other = fit(model, tmp_path / "c", TrainSettings(**{**SHORT_FIELDS, "seed": 1}))

    weights = [(tmp_path / name / WEIGHTS_FILE).read_bytes() for name in "abc"]
    assert first == second != other
    assert weights[0] == weights[1] != weights[2]
    assert (tmp_path / "a" / CONFIG_FILE).read_bytes() == (tmp_path / "b" / CONFIG_FILE).read_bytes()


SHORT_FIELDS: dict[str, Any] = {f: getattr(SHORT, f) for f in SHORT.__slots__}


@pytest.mark.parametrize("diverges", [False, True])
def test_training_leaves_the_model_and_the_random_numbers_as_they_were(
    tmp_path: Path, diverges: bool
) -> None:
    model = tiny_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    parts = [(name, type(module), len(module._forward_hooks)) for name, module in model.named_modules()]
    torch.manual_seed(5)
    random.seed(5)
    expected = torch.rand(3), random.random()
    torch.manual_seed(5)
    random.seed(5)

    if diverges:
        poisoned = [Encoded(r.ids, r.trained, r.truncated) for r in rows()]
        model.get_input_embeddings().weight.data[poisoned[0].ids[0]] = float("nan")
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(ModelError, match="diverged at step 1"):
            fit(model, tmp_path / "a")
    else:
        fit(model, tmp_path / "a")

    after = model.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[n].nan_to_num(), before[n].nan_to_num()) for n in before)
    assert [
        (name, type(module), len(module._forward_hooks)) for name, module in model.named_modules()
    ] == parts
    assert not model.training
    assert not any(p.requires_grad or p.grad is not None for p in model.parameters())
    assert not hasattr(model, "peft_config")
    assert (torch.rand(3), random.random())[1] == expected[1]
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), expected[0])


@pytest.mark.parametrize("kind", KINDS)
def test_the_saved_adapter_computes_the_same_in_peft_and_here(tmp_path: Path, kind: Kind) -> None:
    model = tiny_model(kind)
    bare = [hf_loss(model, row) for row in rows()]
    ids = torch.tensor([rows()[1].ids])
    fit(model, tmp_path / "a", base_model="somebody/some-model")
    adapter = Adapter.load(tmp_path / "a")
    adapter.check_fits(model)
    with torch.no_grad(), steered(model, adapter, 1.0):
        here: Tensor = model(ids).logits

    tuned = PeftModel.from_pretrained(model, str(tmp_path / "a")).eval()
    with torch.no_grad():
        there = tuned(input_ids=ids).logits

    assert set(adapter.modules) == set(linear_modules(tiny_model(kind)))
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-5)
    assert sum(hf_loss(tuned, row) for row in rows()) < 0.9 * sum(bare)


def test_the_saved_configuration_is_compact_and_names_the_model(tmp_path: Path) -> None:
    fit(tiny_model("qwen3"), tmp_path / "a", base_model="somebody/some-model")

    config = orjson.loads((tmp_path / "a" / CONFIG_FILE).read_bytes())
    leaves = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert config["target_modules"] == leaves
    assert config["base_model_name_or_path"] == "somebody/some-model"
    assert config["inference_mode"] is True
    assert (config["r"], config["lora_alpha"], config["lora_dropout"]) == (2, 4, 0.05)
    files = sorted((tmp_path / "a").iterdir())
    assert [p.name for p in files] == [CONFIG_FILE, WEIGHTS_FILE]
    assert files[0].stat().st_mode == files[1].stat().st_mode  # who may read one may read the other


def test_the_first_step_fits_the_mean_answer_loss(tmp_path: Path) -> None:
    model = tiny_model()
    settings = TrainSettings(**{**SHORT_FIELDS, "dropout": 0.0, "batch_size": len(TEXTS)})

    losses = fit(model, tmp_path / "a", settings)

    # B starts at zero, so the first loss is that of the bare model
    assert losses[0] == pytest.approx(sum(hf_loss(model, r) for r in rows()) / len(TEXTS), rel=1e-4)
    assert losses[-1] < losses[0]


def test_every_step_is_reported(tmp_path: Path) -> None:
    seen: list[tuple[int, int, float]] = []

    losses = fit(tiny_model(), tmp_path / "a", on_step=lambda *step: seen.append(step))

    assert seen == [(i, 6, loss) for i, loss in enumerate(losses, start=1)]  # 3 epochs of 2 batches


def test_only_the_named_modules_are_adapted(tmp_path: Path) -> None:
    settings = TrainSettings(**{**SHORT_FIELDS, "target": ("q_proj", "self_attn.v_proj")})

    fit(tiny_model(), tmp_path / "a", settings)

    kinds = {name.rsplit(".", 1)[1] for name in Adapter.load(tmp_path / "a").modules}
    assert kinds == {"q_proj", "v_proj"}


def test_an_unknown_module_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(AdapterError, match="qproj") as caught:
        targets(tiny_model(), ["v_proj", "qproj"])
    assert "q_proj" in caught.value.hint
    assert "lm_head" not in caught.value.hint


def test_modules_are_listed_in_full_where_a_short_name_would_take_in_more() -> None:
    model = tiny_model()
    model.model.layers[0].mlp.norm = torch.nn.Module()
    model.model.layers[0].mlp.norm.q_proj = torch.nn.LayerNorm(4)  # not a linear layer, but ends like one

    assert targets(model) == sorted(linear_modules(model))


def test_tiny_updates_survive_being_saved(tmp_path: Path) -> None:
    # with such a rate B stays below what half precision can hold
    fit(tiny_model(), tmp_path / "a", TrainSettings(**{**SHORT_FIELDS, "learning_rate": 1e-9}))

    adapter = Adapter.load(tmp_path / "a")
    assert all(pair.norm() > 0 for pair in adapter.modules.values())


def test_a_half_precision_model_is_fitted_with_full_precision_factors(tmp_path: Path) -> None:
    model = tiny_model().bfloat16()

    losses = fit(model, tmp_path / "a", TrainSettings(**{**SHORT_FIELDS, "epochs": 6}))

    assert losses[-1] < 0.8 * losses[0]
    assert model.dtype == torch.bfloat16
    Adapter.load(tmp_path / "a").check_fits(model)


def test_fitting_on_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to fine-tune on"):
        fit_lora(tiny_model(), [], 0, tmp_path / "a", SHORT)
