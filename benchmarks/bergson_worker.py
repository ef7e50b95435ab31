"""The half of benchmarks/bergson.py that runs where bergson is installed: scores the prepared batches its way.

    bergson-env/bin/python -m benchmarks.bergson_worker gradient|output FOLDER

Prints one JSON line: CPU and wall seconds of the scoring alone, the scores, and the process's peak memory.
"""

# bergson is not installed where this project is checked
# pyright: reportMissingImports=false, reportUnknownParameterType=false

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch
from bergson.collection import collect_gradients
from bergson.collector.gradient_collectors import GradientCollector
from bergson.config import IndexConfig
from bergson.data import pad_and_tensor
from bergson.gradients import GradientProcessor
from bergson.score.output_influence import output_token_influence, query_directions
from bergson.score.scorer import Scorer
from bergson.utils.worker_utils import setup_model_and_peft
from datasets import Dataset
from safetensors.torch import load_file


class Kept:
    """A score writer that keeps the scores in memory."""

    def __init__(self, count: int) -> None:
        self.scores = torch.zeros(count)

    def __call__(self, indices: list[int], scores: torch.Tensor, query_offset: int = 0) -> None:
        self.scores[indices] = scores[:, 0].float().cpu()

    def flush(self) -> None:
        """Nothing to write."""


def by_gradient(
    model: Any, targets: set[str], cfg: IndexConfig, data: Dataset, scorer: Scorer, batches: Any
) -> None:
    collect_gradients(
        model, data, GradientProcessor({}), cfg, batches=batches, target_modules=targets, scorer=scorer
    )


def by_output(
    model: Any, targets: set[str], cfg: IndexConfig, data: Dataset, scorer: Scorer, batches: Any
) -> None:
    found = GradientCollector.discover_targets(model.base_model, targets, False, None)
    directions = query_directions(model, scorer.query_grads_t, found)
    for indices in batches:
        batch = data[indices]
        x, y, _, _ = pad_and_tensor(
            batch["input_ids"], labels=batch["labels"], device=model.device, sync_max_len=False
        )
        rates, _ = output_token_influence(model, x, y, directions, cfg)
        scorer.write_scores(indices, rates.sum(dim=1))


def main() -> None:
    way, folder = sys.argv[1], Path(sys.argv[2])
    run = {"gradient": by_gradient, "output": by_output}[way]
    groups = json.loads((folder / "batches.json").read_text(encoding="utf-8"))
    rows = [row | {"length": len(row["input_ids"])} for group in groups for row in group]
    numbers = iter(range(len(rows)))
    batches = [[next(numbers) for _ in group] for group in groups]
    cfg = IndexConfig(
        str(folder / f"run-{way}"), model=str(folder / "state"), loss_reduction="mean", overwrite=True
    )
    # forward-mode derivatives need it, as in bergson's own worker
    attention = {"attn_implementation": "eager"} if way == "output" else {}
    model, targets = setup_model_and_peft(cfg, **attention)
    model.eval()
    query = {name: block.reshape(1, -1) for name, block in load_file(folder / "query.safetensors").items()}
    kept = Kept(len(rows))
    scorer = Scorer(query, list(query), kept, torch.device(model.device), torch.float32)
    data = Dataset.from_list(rows)
    run(model, targets, cfg, data, scorer, batches[:1])
    _synchronize()
    cpu, wall = time.process_time(), time.perf_counter()
    run(model, targets, cfg, data, scorer, batches)
    _synchronize()
    answer = {
        "cpu": time.process_time() - cpu,
        "wall": time.perf_counter() - wall,
        "scores": kept.scores.tolist(),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    print("\n" + json.dumps(answer))


def _synchronize() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
