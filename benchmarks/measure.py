"""What the benchmarks share: clocks, the pass everything is compared with, real batches, result files."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from curation.errors import EncodeError
from curation.samples import read_samples
from curation.samples.sample import Sample
from curation.sqsd.batching import Batch
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.loss import answer_losses
from curation.sqsd.models import LoadedModel
from curation.sqsd.projection import differentiable_inputs

DEMO = Path(str(files("curation") / "assets" / "demo.jsonl"))
MAX_TOKENS = 1024


@dataclass(frozen=True)
class Seconds:
    """Time taken: `cpu` over all threads of this process, `wall` on the clock."""

    cpu: float
    wall: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.cpu + other.cpu, self.wall + other.wall)


def timed(work: Callable[[], object], device: torch.device) -> Seconds:
    """Run `work` to its end, on the GPU too."""
    synchronize(device)
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    synchronize(device)
    return Seconds(time.process_time() - cpu, time.perf_counter() - wall)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def counted(seconds: Seconds, device: torch.device) -> float:
    """The clock to read: CPU time where the work is on the CPU, since neighbours stretch the wall clock."""
    return seconds.wall if device.type == "cuda" else seconds.cpu


def ratios(over: Sequence[Seconds], under: Sequence[Seconds], device: torch.device) -> dict[str, float]:
    """Median, lowest and highest of the pairwise ratios, and the ratio of the medians of the wall clock."""
    pairs = [counted(a, device) / counted(b, device) for a, b in zip(over, under, strict=True)]
    wall = statistics.median(s.wall for s in over) / statistics.median(s.wall for s in under)
    return {
        "median": round(statistics.median(pairs), 3),
        "lowest": round(min(pairs), 3),
        "highest": round(max(pairs), 3),
        "wall": round(wall, 3),
        "pairs": len(pairs),
    }


def plain_pass(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """The floor: one frozen forward with answer-only logits and one backward to the inputs."""
    batch = batch.to(model.device)
    with differentiable_inputs(model):
        losses = answer_losses(model, batch)
        losses.sum().backward()
    return losses.detach()


def read_rows(data: Path, loaded: LoadedModel, limit: int | None) -> list[tuple[Sample, Encoded]]:
    """The first `limit` samples of a file that can be scored, tokenised."""

    def encoded() -> Iterator[tuple[Sample, Encoded]]:
        for sample in read_samples(data):
            try:
                yield sample, encode(sample, loaded.tokenizer, MAX_TOKENS)
            except EncodeError:
                continue

    return list(islice(encoded(), limit))


def spread(items: Sequence[Any], count: int) -> list[Any]:
    """`count` items at even distances, both ends among them."""
    if count >= len(items):
        return list(items)
    return [items[round(i * (len(items) - 1) / max(count - 1, 1))] for i in range(count)]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    options = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--out", type=Path, help="write the numbers and how they were obtained as JSON")
    options.add_argument("--threads", type=int, help="CPU threads of torch (default: torch's own choice)")
    return options


def write(out: Path | None, obtained: str, numbers: dict[str, Any]) -> None:
    """A result file: the numbers, in words how they were obtained, and the kind of machine."""
    if out is not None:
        text = json.dumps({"obtained": obtained, "machine": machine(), "numbers": numbers}, indent=2)
        out.write_text(text + "\n", encoding="utf-8")


def machine() -> dict[str, Any]:
    """The kind of machine in general words, and how busy it was."""
    found: dict[str, Any] = {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "load_average": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name()
    return found


def _cpu_model() -> str:
    try:
        lines: Iterable[str] = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
