"""Adapters: read as peft means them, refused with a reason when they are not plain LoRA or do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model

from curation.errors import AdapterError
from curation.sqsd.adapters import CONFIG_FILE, WEIGHTS_FILE, Adapter, LowRank, cosines, inner
from tests.sqsd.tiny import KINDS, Kind, random_adapter, save_adapter, tiny_model


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_means_what_peft_makes_of_it(kind: Kind, tmp_path: Path) -> None:
    """W + scaling * B A, module by module, equals peft's merged weights."""
    path = save_adapter(random_adapter(tiny_model(kind), 3, seed=5), tmp_path)
    loaded = Adapter.load(path)
    plain = dict(tiny_model(kind).named_parameters())
    merged = PeftModel.from_pretrained(tiny_model(kind), str(path)).merge_and_unload()  # type: ignore[operator]
    for name, pair in loaded.modules.items():
        weight = dict(merged.named_parameters())[f"{name}.weight"]
        update = pair.scaling * pair.dense()
        change = weight - plain[f"{name}.weight"]
        assert torch.allclose(
            change.T if change.shape != update.shape else change, update, atol=1e-5
        ) or torch.allclose(change.T, update, atol=1e-5)


@pytest.mark.parametrize(
    "options", [{"use_rslora": True}, {"alpha_pattern": {"q_proj": 32}, "rank_pattern": {"q_proj": 2}}]
)
def test_scaling_follows_pefts_variants(options: dict[str, object], tmp_path: Path) -> None:
    config = LoraConfig(
        r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"], init_lora_weights=False, **options
    )  # type: ignore[arg-type]
    tuned = get_peft_model(tiny_model("llama"), config)
    tuned.save_pretrained(str(tmp_path))
    for name, pair in Adapter.load(tmp_path).modules.items():
        layer = tuned.get_submodule(f"base_model.model.{name}")
        assert pair.scaling == pytest.approx(layer.scaling["default"])  # type: ignore[index]


def test_low_rank_products_equal_dense_ones() -> None:
    a = LowRank(torch.randn(3, 7), torch.randn(5, 3), 1.0)
    b = LowRank(torch.randn(2, 7), torch.randn(5, 2), 4.0)
    assert float(inner(a, b)) == pytest.approx(float((a.dense() * b.dense()).sum()), rel=1e-5)
    assert a.norm() == pytest.approx(float(a.dense().norm()), rel=1e-5)
    assert cosines(Adapter({"m": a}, ""), Adapter({"m": a}, ""))["m"] == pytest.approx(1.0)


def test_fingerprints_follow_weights_and_scaling_not_place(tmp_path: Path) -> None:
    adapter = random_adapter(tiny_model("llama"), 2, seed=1)
    first = Adapter.load(save_adapter(adapter, tmp_path / "a"))
    second = Adapter.load(save_adapter(adapter, tmp_path / "b"))
    other = Adapter.load(
        save_adapter(random_adapter(tiny_model("llama"), 2, seed=1, scaling=4.0), tmp_path / "c")
    )
    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != other.fingerprint
    assert first.scaled(0.8).fingerprint != first.fingerprint
    assert first.scaled(1.0) is first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"bias": "all"}, "biases"),
        ({"peft_type": "IA3"}, "IA3"),
        ({"target_parameters": ["experts"]}, "target_parameters"),
    ],
)
def test_what_is_not_plain_lora_is_refused_by_name(
    change: dict[str, object], words: str, tmp_path: Path
) -> None:
    path = save_adapter(random_adapter(tiny_model("llama"), 2), tmp_path)
    config = json.loads((path / CONFIG_FILE).read_text())
    (path / CONFIG_FILE).write_text(json.dumps(config | change))
    with pytest.raises(AdapterError, match=words):
        Adapter.load(path)


def test_pickled_weights_are_never_opened(tmp_path: Path) -> None:
    path = save_adapter(random_adapter(tiny_model("llama"), 2), tmp_path)
    (path / WEIGHTS_FILE).rename(path / "adapter_model.bin")
    with pytest.raises(AdapterError, match="safetensors"):
        Adapter.load(path)


def test_an_adapter_of_another_model_names_the_modules_that_do_not_fit() -> None:
    with pytest.raises(AdapterError, match="no such module") as caught:
        random_adapter(tiny_model("gpt2")).check_fits(tiny_model("llama"))
    assert "directions fit" in caught.value.hint
    wrong = Adapter({"model.layers.0.self_attn.q_proj": LowRank(torch.ones(1, 3), torch.ones(4, 1), 1.0)}, "")
    with pytest.raises(AdapterError, match=r"\(4, 3\).*\(32, 32\)"):
        wrong.check_fits(tiny_model("llama"))


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    adapter = random_adapter(tiny_model("llama"), 2)
    next(iter(adapter.modules.values())).A[0, 0] = float("nan")
    with pytest.raises(AdapterError, match="not finite"):
        Adapter.load(save_adapter(adapter, tmp_path))


@pytest.mark.parametrize(
    "config",
    [b"[]", b"{broken", b'{"peft_type": "LORA"}', b'{"peft_type": "LORA", "lora_alpha": "many"}',
     b'{"peft_type": "LORA", "lora_alpha": 8, "alpha_pattern": ["q"]}', b'{"peft_type": "LORA", "lora_alpha": 0}'],
)  # fmt: skip
def test_a_broken_configuration_is_an_adapter_error(config: bytes, tmp_path: Path) -> None:
    path = save_adapter(random_adapter(tiny_model("llama"), 2), tmp_path)
    (path / CONFIG_FILE).write_bytes(config)
    with pytest.raises(AdapterError):
        Adapter.load(path)


@pytest.mark.parametrize("keep", [0, 7, 200])
def test_a_truncated_weights_file_is_an_adapter_error(keep: int, tmp_path: Path) -> None:
    path = save_adapter(random_adapter(tiny_model("llama"), 2), tmp_path)
    (path / WEIGHTS_FILE).write_bytes((path / WEIGHTS_FILE).read_bytes()[:keep])
    with pytest.raises(AdapterError, match="safetensors"):
        Adapter.load(path)


def test_factors_of_different_ranks_are_refused(tmp_path: Path) -> None:
    odd = Adapter({"m": LowRank(torch.ones(2, 4), torch.ones(4, 3), 1.0)}, "")
    with pytest.raises(AdapterError, match="one rank"):
        Adapter.load(save_adapter(odd, tmp_path))
