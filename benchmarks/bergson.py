"""Our scorer beside bergson 2.5.1 (https://github.com/EleutherAI/bergson) on the same rows, batches and query.

bergson pins other packages, so it gets an environment of its own (Python 3.11 or newer):

    python -m venv bergson-env
    echo torch==2.13.0 > constraint.txt          # the torch this project runs on
    bergson-env/bin/pip install -c constraint.txt bergson==2.5.1
    bergson-env/bin/pip uninstall -y torchvision torchaudio      # on a CPU torch they break `import transformers`
    python -m benchmarks.bergson --python bergson-env/bin/python [--out benchmarks/results/bergson.json]

The query is chosen so that bergson computes one of our own numbers, at the least cost it has for it. With the
danger state's LoRA loaded, <delta, V> = -<dL/dB, V A'> - <dL/dA, B' V> is linear in the gradients of the factors,
so one query column of (B' V, V A') over the adapter's own small matrices makes bergson's score the `dot` metric
of the danger term; it never touches the base weights. It is run in both of its ways:

- gradient: per-sample gradients from a backward pass, dotted with the query (its default);
- output: one forward-mode pass along the query (token_influence="output").

Ours is Projector.project for the same term, which yields |delta| and so the cosine along with the dot. Every run
is a process of its own; the ways alternate, and the ratio is taken within each round. Loading is not timed, and
one batch runs beforehand.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file

from benchmarks.measure import DEMO, Seconds, parser, ratios, read_rows, spread, timed, write
from curation.sqsd.adapters import Adapter
from curation.sqsd.batching import budgeted, collate
from curation.sqsd.encode import Encoded
from curation.sqsd.load import load_scorer
from curation.sqsd.models import SHIPPED, load_model

ROOT = Path(__file__).parent.parent
OURS = "curation"
THEIRS = ("gradient", "output")


def prepare(folder: Path, data: Path, budget: int, batches: int) -> None:
    """Write what a run needs: the model, the state's adapter, token ids and labels by batch, the query."""
    loaded = load_model()
    loaded.model.save_pretrained(folder / "model")
    state = folder / "state"
    state.mkdir()
    config = json.loads((SHIPPED / "benign-state" / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = str(folder / "model")
    (state / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    weights = "adapter_model.safetensors"
    (state / weights).write_bytes((SHIPPED / "benign-state" / weights).read_bytes())
    rows = [row for _, row in read_rows(data, loaded, None)]
    groups = spread(list(budgeted(rows, len, budget)), batches)
    (folder / "batches.json").write_text(json.dumps([[_row(r) for r in g] for g in groups]), encoding="utf-8")
    save_file(query(Adapter.load(SHIPPED / "danger"), Adapter.load(state)), folder / "query.safetensors")


def _row(row: Encoded) -> dict[str, list[int]]:
    labels = [i if on else -100 for i, on in zip(row.ids, row.trained, strict=True)]
    return {"input_ids": list(row.ids), "labels": labels}


def query(direction: Adapter, state: Adapter) -> dict[str, torch.Tensor]:
    """The linear functional <delta, V> over the state's factors, by PEFT's parameter names."""
    found: dict[str, torch.Tensor] = {}
    for name, V in direction.modules.items():
        at = state.modules[name]
        prefix = f"model.{name}"
        found[f"{prefix}.lora_A.default"] = -((at.B.T @ V.B) @ V.A).contiguous()
        found[f"{prefix}.lora_B.default"] = -(V.B @ (V.A @ at.A.T)).contiguous()
    return found


def run_ours(folder: Path) -> dict[str, Any]:
    """In a process of its own: our scorer on the prepared batches."""
    scorer = load_scorer()
    batches = [
        collate(
            [
                Encoded(tuple(r["input_ids"]), tuple(i != -100 for i in r["labels"]), truncated=False)
                for r in rows
            ],
            scorer.loaded.pad_id,
        )
        for rows in json.loads((folder / "batches.json").read_text(encoding="utf-8"))
    ]
    scorer.projector.project(batches[0], "danger")
    found: list[float] = []

    def score() -> None:
        for batch in batches:
            found.extend(scorer.projector.project(batch, "danger").total("dot").tolist())

    taken = timed(score, scorer.loaded.model.device)
    return {
        "cpu": taken.cpu,
        "wall": taken.wall,
        "scores": found,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def run(way: str, folder: Path, python: Path, threads: int | None) -> dict[str, Any]:
    """One way in a fresh process; its answer is the last line it prints."""
    module = ["benchmarks.bergson", "--run-ours"] if way == OURS else ["benchmarks.bergson_worker", way]
    interpreter = sys.executable if way == OURS else str(python)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [interpreter, "-m", *module, str(folder)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    data: Path, python: Path, rounds: int, batches: int, budget: int, threads: int | None
) -> dict[str, Any]:
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in (OURS, *THEIRS)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder, data, budget, batches)
        rows = [r for g in json.loads((folder / "batches.json").read_text(encoding="utf-8")) for r in g]
        for turn in range(rounds):
            for way in list(runs) if turn % 2 == 0 else list(runs)[::-1]:
                runs[way].append(run(way, folder, python, threads))
    seconds = {way: [Seconds(r["cpu"], r["wall"]) for r in done] for way, done in runs.items()}
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tokens = sum(len(r["input_ids"]) for r in rows)
    found: dict[str, Any] = {"data": data.name, "samples": len(rows), "tokens": tokens, "rounds": rounds}
    for way in runs:
        found[way] = {
            "over_ours": ratios(seconds[way], seconds[OURS], device),
            "cpu_seconds": [round(s.cpu, 2) for s in seconds[way]],
            "wall_seconds": [round(s.wall, 2) for s in seconds[way]],
            "peak_rss_mib": round(max(r["peak_rss_mib"] for r in runs[way])),
            "largest_difference_over_rms": difference(runs[way][0]["scores"], runs[OURS][0]["scores"]),
        }
    return found


def difference(a: list[float], b: list[float]) -> float:
    """The largest difference between two score lists, over the root mean square of the second."""
    x, y = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    return float(f"{float((x - y).abs().max() / y.square().mean().sqrt()):.2g}")


def show(found: dict[str, Any]) -> None:
    table = Table(
        "way", "over ours", "lowest - highest", "wall", "CPU seconds", "peak RSS, MiB", "max difference / rms",
        title=f"{found['samples']} samples, {found['tokens']:,} tokens, <delta, V> of the danger term",
    )  # fmt: skip
    for way in (OURS, *THEIRS):
        row, ratio = found[way], found[way]["over_ours"]
        table.add_row(
            way if way == OURS else f"bergson {way}",
            f"{ratio['median']:.2f}",
            f"{ratio['lowest']:.2f} - {ratio['highest']:.2f}",
            f"{ratio['wall']:.2f}",
            ", ".join(map(str, row["cpu_seconds"])),
            f"{row['peak_rss_mib']:,}",
            f"{row['largest_difference_over_rms']:g}",
        )
    Console().print(table)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--python", type=Path, help="the interpreter of the environment with bergson")
    options.add_argument("--data", type=Path, default=DEMO)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--batches", type=int, default=3)
    options.add_argument("--budget", type=int, default=1024, help="padded tokens in a batch")
    options.add_argument(
        "--run-ours", type=Path, metavar="FOLDER", help="one run of ours, for the script itself"
    )
    given = options.parse_args()
    if given.run_ours:
        print(json.dumps(run_ours(given.run_ours)))
        return
    if given.python is None:
        options.error("--python is needed: the interpreter of the environment with bergson")
    # not resolved: a virtual environment's python is a link, and found by the link's place
    found = measure(
        given.data, given.python.absolute(), given.rounds, given.batches, given.budget, given.threads
    )
    show(found)
    write(
        given.out,
        "SmolLM2-135M aligned, fp32; bergson 2.5.1; each run a process of its own, alternated",
        found,
    )


if __name__ == "__main__":
    main()
