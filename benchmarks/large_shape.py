"""Speed at the shape of an 8B model, with random weights: tokens per second and share of the matmul rate.

    python -m benchmarks.large_shape [--out benchmarks/results/large_shape.json]      on a GPU
    python -m benchmarks.large_shape --tiny                                          anywhere, to see it run

The model has Llama 3.1 8B's dimensions and is made on the device in bf16; LoRA states and directions of rank 8
lie on all linear layers of the decoder. What is compared:

- a term's pass over the plain frozen forward and backward pass (answer-only logits) on the same batch;
- the floating-point operations of that pass (forward and input gradients of every matrix product: 4 per weight
  and token, attention left out) per second, over the rate of one large product measured beside it;
- whether the pass runs when only the flash attention kernel is allowed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from benchmarks.measure import Seconds, parser, plain_pass, ratios, timed, write
from curation.sqsd.adapters import Adapter, LowRank, linear_modules, weight_shape
from curation.sqsd.batching import Batch
from curation.sqsd.models import device_and_dtype
from curation.sqsd.projection import Projector, Term

LLAMA_8B = {
    "vocab_size": 128_256,
    "hidden_size": 4096,
    "intermediate_size": 14_336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {
        "rope_type": "llama3",
        "rope_theta": 500_000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
    "tie_word_embeddings": False,
}
TINY = {
    "vocab_size": 1024,
    "hidden_size": 128,
    "intermediate_size": 448,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 1,
}


def random_llama(shape: Mapping[str, Any]) -> PreTrainedModel:
    """A Llama of this shape with random weights, made on the device it will run on."""
    device, dtype = device_and_dtype()
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with device:
            model = LlamaForCausalLM(LlamaConfig(**shape))
    finally:
        torch.set_default_dtype(before)
    return model.eval().requires_grad_(False)


def random_adapter(model: PreTrainedModel, rank: int, seed: int) -> Adapter:
    """Random factors on every linear layer, of the size that training leaves behind."""
    generator = torch.Generator().manual_seed(seed)

    def pair(out: int, inner: int) -> LowRank:
        A = torch.randn(rank, inner, generator=generator) / inner**0.5
        return LowRank(A, torch.randn(out, rank, generator=generator) * 0.01, 2.0)

    layers = linear_modules(model)
    return Adapter({name: pair(*weight_shape(layer)) for name, layer in layers.items()}, f"random {seed}")


def random_batch(model: PreTrainedModel, rows: int, width: int) -> Batch:
    """Rows of random tokens; the last two thirds are trained on."""
    ids = torch.randint(5, model.config.vocab_size, (rows, width), generator=torch.Generator().manual_seed(1))
    trained = torch.zeros(rows, width, dtype=torch.bool)
    trained[:, width // 3 :] = True
    return Batch(ids, trained).to(model.device)


def operations(model: PreTrainedModel, batch: Batch) -> float:
    """Floating-point operations of a frozen forward and input-gradient pass, attention left out."""
    decoder = sum(o * i for o, i in (weight_shape(layer) for layer in linear_modules(model).values()))
    head = model.config.vocab_size * model.config.hidden_size
    return 4.0 * (decoder * batch.ids.numel() + head * int(batch.trained.sum()))


def matmul_rate(model: PreTrainedModel, tokens: int) -> float:
    """Operations per second of one product of the model's largest decoder shape, the best of five times."""
    rows, inner, out = tokens, model.config.hidden_size, model.config.intermediate_size
    a = torch.randn(rows, inner, device=model.device, dtype=model.dtype)
    b = torch.randn(out, inner, device=model.device, dtype=model.dtype)
    repeat = 20
    best = min(timed(lambda: [a @ b.T for _ in range(repeat)], model.device).wall for _ in range(5))
    return 2.0 * rows * inner * out * repeat / best


def flash_works(projector: Projector, batch: Batch) -> bool:
    """Whether a pass runs with no attention kernel but flash allowed."""
    try:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            projector.project(batch, "danger")
    except RuntimeError:
        return False
    return True


def measure(shape: Mapping[str, Any], rank: int, rows: int, width: int, rounds: int) -> dict[str, Any]:
    start = time.perf_counter()
    model = random_llama(shape)
    batch = random_batch(model, rows, width)
    made = time.perf_counter() - start
    rate = matmul_rate(model, rows * width)
    # before the projector, which moves the weights: the floor has to be that of an untouched model
    plain_pass(model, batch)
    plain = [timed(lambda: plain_pass(model, batch), model.device) for _ in range(rounds)]
    terms = {
        name: Term(random_adapter(model, rank, 2 * n), random_adapter(model, rank, 2 * n + 1))
        for n, name in enumerate(("danger", "safety"))
    }
    projector = Projector(model, terms)
    projector.project(batch, "danger")
    ours = [timed(lambda: projector.project(batch, "danger"), model.device) for _ in range(rounds)]
    tokens = rows * width
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "dtype": str(model.dtype).removeprefix("torch."),
        "attention": getattr(model.config, "_attn_implementation", None),
        "flash_only_works": flash_works(projector, batch),
        "rows": rows,
        "width": width,
        "rank": rank,
        "made_in_seconds": round(made, 1),
        "matmul_tflops": round(rate / 1e12, 3),
        "term over plain pass": ratios(ours, plain, model.device),
        "plain": _speed(plain, tokens, operations(model, batch), rate),
        "term": _speed(ours, tokens, operations(model, batch), rate),
        "score_tokens_per_second": round(tokens / (2 * _median(ours)), 1),
        **_peak(),
    }


def _median(taken: list[Seconds]) -> float:
    return statistics.median(s.wall for s in taken)


def _speed(taken: list[Seconds], tokens: int, work: float, rate: float) -> dict[str, float]:
    wall = _median(taken)
    return {
        "tokens_per_second": round(tokens / wall, 1),
        "share_of_matmul_rate": round(work / wall / rate, 3),
    }


def _peak() -> dict[str, float]:
    return (
        {"peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2)} if torch.cuda.is_available() else {}
    )


def show(found: dict[str, Any]) -> None:
    table = Table(
        "pass", "tokens/s", "share of the matmul rate",
        title=f"{found['parameters']:,} parameters, {found['dtype']}, {found['rows']} rows of {found['width']} tokens",
    )  # fmt: skip
    for name in ("plain", "term"):
        table.add_row(
            name, f"{found[name]['tokens_per_second']:,.0f}", f"{found[name]['share_of_matmul_rate']:.3f}"
        )
    table.add_row("score (two terms)", f"{found['score_tokens_per_second']:,.0f}", "")
    console = Console()
    console.print(table)
    ratio = found["term over plain pass"]
    console.print(
        f"term over plain pass: {ratio['median']:.3f} ({ratio['lowest']:.2f} - {ratio['highest']:.2f}); "
        f"one product: {found['matmul_tflops']:,.2f} TFLOP/s; attention {found['attention']}, "
        f"flash kernel {'usable' if found['flash_only_works'] else 'NOT usable'}"
    )


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--tiny", action="store_true", help="a model of two small layers, to try the script")
    options.add_argument("--rank", type=int, default=8)
    options.add_argument("--rows", type=int, default=32)
    options.add_argument("--width", type=int, default=512)
    options.add_argument("--rounds", type=int, default=5)
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    shape = TINY if given.tiny else LLAMA_8B
    found = measure(shape, given.rank, given.rows, given.width, given.rounds)
    show(found)
    write(
        given.out,
        "random weights of Llama 3.1 8B's shape" if not given.tiny else "a toy shape: no result",
        found,
    )


if __name__ == "__main__":
    main()
