"""Peak memory of scoring over the model itself.

    python -m benchmarks.memory [--out benchmarks/results/memory.json]

- growth: a tiny random model scores 2,000 samples in a stream; the peak of each stretch of 250 is printed over
  the memory held before the first batch. The later stretches must not lie above the earlier ones.
- batch: the demo model scores one batch of 512, 1,024 and 2,048 tokens, each in a process of its own, beside the
  plain forward and backward pass on the same batch: memory follows the batch, and the ratio is what the scorer
  adds to the pass.

On a CPU the resident set is sampled every 2 ms, on a GPU the allocator's own peak is read.
"""

from __future__ import annotations

import gc
import multiprocessing
import threading
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from itertools import cycle, islice
from typing import Any

import psutil
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.large_shape import random_adapter, random_llama
from benchmarks.measure import DEMO, parser, plain_pass, read_rows, write
from curation.samples import read_samples
from curation.sqsd.batching import budgeted, collate
from curation.sqsd.load import load_scorer
from curation.sqsd.models import LoadedModel, load_model
from curation.sqsd.scorer import Scorer

STRETCH = 250
MIB = 2**20
TINY = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4}


class Peak:
    """The highest memory use since `start`, sampled from a thread of its own; MiB."""

    def __init__(self) -> None:
        self.highest = 0
        self._process = psutil.Process()
        self._stop = threading.Event()

    def now(self) -> int:
        return torch.cuda.memory_allocated() if torch.cuda.is_available() else self._process.memory_info().rss

    def take(self) -> int:
        """The peak since the last call."""
        if torch.cuda.is_available():
            found = torch.cuda.max_memory_allocated()
            torch.cuda.reset_peak_memory_stats()
            return found
        found, self.highest = max(self.highest, self.now()), 0
        return found

    @contextmanager
    def sampling(self) -> Generator[Peak]:
        def watch() -> None:
            while not self._stop.wait(0.002):
                self.highest = max(self.highest, self._process.memory_info().rss)

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()


def tiny_scorer() -> Scorer:
    """The demo model's tokenizer and a random Llama of 4 layers."""
    tokenizer = load_model().tokenizer
    model = random_llama(TINY | {"vocab_size": len(tokenizer)})
    danger, safety, state = (random_adapter(model, rank=8, seed=seed) for seed in range(3))
    return Scorer(LoadedModel(model, tokenizer, "random", "random"), danger, safety, state)


def growth(samples: int) -> dict[str, Any]:
    """Peaks of the stretches of a stream, MiB over what was held before it."""
    scorer = tiny_scorer()
    gc.collect()
    stream = islice(cycle(read_samples(DEMO)), samples)
    done, peaks = 0, []
    with Peak().sampling() as peak:
        before = peak.now()
        peak.take()
        for batch in scorer.score_batches(stream):
            done += len(batch)
            if done >= STRETCH * (len(peaks) + 1) or done == samples:
                peaks.append(round((peak.take() - before) / MIB, 1))
    half = len(peaks) // 2
    return {
        "samples": done,
        "held_before_mib": round(before / MIB, 1),
        "peak_of_stretch_mib": peaks,
        "later_half_over_earlier": round(max(peaks[half:]) / max(peaks[:half]), 3),
    }


def one_batch(budget: int, scored: bool) -> tuple[int, float]:
    """In a process of its own: the peak of one batch over what was held before it, MiB."""
    loaded = load_model()
    rows = [row for _, row in read_rows(DEMO, loaded, None)]
    group = max(budgeted(rows, len, budget), key=lambda g: len(g) * max(map(len, g)))
    batch = collate(group, loaded.pad_id)
    scorer = load_scorer(loaded=loaded) if scored else None
    gc.collect()
    with Peak().sampling() as peak:
        before = peak.now()
        peak.take()
        if scorer is None:
            plain_pass(loaded.model, batch)
        else:
            for term in scorer.terms:
                scorer.projector.project(batch, term)
        return batch.ids.numel(), (peak.take() - before) / MIB


def by_batch(budgets: list[int]) -> list[dict[str, float]]:
    context = multiprocessing.get_context("spawn")  # a forked child would start with this process's memory
    found: list[dict[str, float]] = []
    for budget in budgets:
        peaks: list[float] = []
        tokens = 0
        for scored in (False, True):
            with ProcessPoolExecutor(1, context) as fresh:
                tokens, peak = fresh.submit(one_batch, budget, scored).result()
            peaks.append(peak)
        plain, ours = peaks
        found.append(
            {
                "padded_tokens": tokens,
                "plain_mib": round(plain, 1),
                "scored_mib": round(ours, 1),
                "scored_over_plain": round(ours / plain, 3),
                "scored_kib_per_token": round(1024 * ours / tokens, 1),
            }
        )
    return found


def show(found: dict[str, Any]) -> None:
    console = Console()
    grown = found["growth"]
    console.print(
        f"{grown['samples']:,} samples: peak over the model {grown['peak_of_stretch_mib']} MiB per {STRETCH}; "
        f"later half / earlier half {grown['later_half_over_earlier']:.3f}"
    )
    table = Table(
        "tokens in the batch",
        "plain pass, MiB",
        "scored, MiB",
        "ratio",
        "KiB per token",
        title="135M model, one batch",
    )
    for row in found["batch"]:
        table.add_row(
            f"{row['padded_tokens']:,}",
            f"{row['plain_mib']:,.0f}",
            f"{row['scored_mib']:,.0f}",
            f"{row['scored_over_plain']:.2f}",
            f"{row['scored_kib_per_token']:,.0f}",
        )
    console.print(table)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--samples", type=int, default=2000, help="samples of the growth run")
    options.add_argument("--budget", type=int, action="append", help="default: 512, 1024 and 2048")
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    found = {"growth": growth(given.samples), "batch": by_batch(given.budget or [512, 1024, 2048])}
    show(found)
    write(given.out, "growth: random 4-layer Llama, demo rows repeated; batch: SmolLM2-135M aligned", found)


if __name__ == "__main__":
    main()
