"""Tiny random models of several architectures, a byte-level tokenizer, and random adapters for them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast, get_args

import torch
from peft import LoraConfig, TaskType
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
)

from curation.sqsd.adapters import WEIGHTS_FILE, Adapter, LowRank, linear_modules, weight_shape

Kind = Literal["llama", "qwen2", "qwen3", "gemma3", "gpt2"]
KINDS: tuple[Kind, ...] = get_args(Kind)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_ALPHABET = sorted(pre_tokenizers.ByteLevel.alphabet())
_VOCAB = len(SPECIAL) + len(_ALPHABET)


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte, ChatML template; offsets are exact for every Unicode text."""
    vocab = {token: i for i, token in enumerate([*SPECIAL, *_ALPHABET])}
    core = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        chat_template=CHAT_TEMPLATE,
    )


def tiny_model(kind: Kind = "llama", *, seed: int = 0, layers: int = 2) -> PreTrainedModel:
    """A random fp32 model, frozen and in eval mode, its weights large enough for uneven outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = cast("PreTrainedModel", AutoModelForCausalLM.from_config(_config(kind, layers)))
    return model.float().eval().requires_grad_(False)


def save_tiny(kind: Kind, path: Path, *, seed: int = 0) -> Path:
    """A tiny model with its tokenizer as a model directory."""
    tiny_model(kind, seed=seed).save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def random_adapter(
    model: PreTrainedModel, rank: int = 4, seed: int = 0, *, scaling: float = 2.0, size: float = 0.1
) -> Adapter:
    """A random LoRA on all linear modules; `size` is the standard deviation of A's and B's entries."""
    draw = torch.Generator().manual_seed(seed)
    modules: dict[str, LowRank] = {}
    for name, layer in linear_modules(model).items():
        out, inner = weight_shape(layer)
        A = torch.randn(rank, inner, generator=draw) * size
        B = torch.randn(out, rank, generator=draw) * size
        modules[name] = LowRank(A, B, scaling)
    return Adapter(modules, f"{seed:064x}")


def save_adapter(adapter: Adapter, path: Path, *, base_model: str | None = None) -> Path:
    """Write an adapter as the PEFT directory that `PeftModel.from_pretrained` and `Adapter.load` read."""
    pair = next(iter(adapter.modules.values()))
    rank = pair.A.shape[0]
    path.mkdir(parents=True, exist_ok=True)
    config = LoraConfig(
        r=rank,
        lora_alpha=round(pair.scaling * rank),
        target_modules=sorted(adapter.modules),
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=base_model,
        inference_mode=True,
    )
    config.save_pretrained(str(path))
    tensors = {
        f"base_model.model.{name}.lora_{factor}.weight": getattr(p, factor).contiguous()
        for name, p in adapter.modules.items()
        for factor in "AB"
    }
    save_file(tensors, path / WEIGHTS_FILE, metadata={"format": "pt"})
    return path


def _config(kind: Kind, layers: int) -> PreTrainedConfig:
    shared = {
        "vocab_size": _VOCAB,
        "initializer_range": 0.15,
        "bos_token_id": 0,
        "eos_token_id": 2,
        "pad_token_id": 0,
    }
    if kind == "gpt2":
        return GPT2Config(
            n_embd=32, n_layer=layers, n_head=4, n_positions=2048, n_inner=48,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **shared,
        )  # fmt: skip
    sizes = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        **shared,
    }
    match kind:
        case "llama":
            return LlamaConfig(**sizes)
        case "qwen2":
            return Qwen2Config(**sizes)
        case "qwen3":
            return Qwen3Config(head_dim=16, tie_word_embeddings=True, **sizes)
        case "gemma3":
            # one sliding and one global layer, and a window shorter than most test samples
            return Gemma3TextConfig(
                head_dim=16, sliding_window=16, query_pre_attn_scalar=16,
                layer_types=["sliding_attention", "full_attention"] * (layers // 2), **sizes,
            )  # fmt: skip
