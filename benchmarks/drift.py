"""Whether predicted drift comes true: sums of scores against short real fine-tunes, measured by DriftCallback.

    python -m benchmarks.drift [--out benchmarks/results/drift.json] [--threads 1]

Samples of the demo set are scored with `projection` at one state, the shipped benign one. From that very state a
LoRA is then trained, a row a step, on: the riskiest, the safest and random rows, all, those that a budget of half the
drift keeps, and the random ones with as many refusals mixed in as halve theirs. To first order a step of plain
gradient descent moves the weights by

    learning rate x LoRA scaling x (the row's update)

so the measured projection of the task vector should be this factor times the sum of the `projection` scores so far.
With AdamW only order and sign can be compared. Sums of `cosine` scores are set beside both. Each arm is saved when it
is done; run again, the script goes on.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
import torch
from peft import PeftModel
from rich.console import Console
from rich.table import Table
from scipy.stats import pearsonr, spearmanr
from torch import nn
from torch.utils.data import SequentialSampler
from transformers import Trainer, TrainingArguments, default_data_collator

from benchmarks.measure import DEMO, parser, read_rows, write
from curation.drift import rows_to_mix, select_rows
from curation.dynamics import DriftCallback
from curation.dynamics.log import Log, read_log
from curation.samples import Sample
from curation.sqsd.adapters import Adapter
from curation.sqsd.batching import budgeted, collate
from curation.sqsd.directions import read_anchors
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.margin import refusal_margin
from curation.sqsd.models import SHIPPED, LoadedModel, load_model
from curation.sqsd.projection import Projector, Term
from curation.sqsd.steering import read_prompts

ROWS, SET, LONGEST, EVERY = 24, 8, 100, 2
HALF = 0.5
PROMPTS = 6
REFUSAL = "I'm sorry, but I can't help with that."
TERMS = ("danger", "safety")
SCALING = 2.0
"""alpha / r of the shipped adapters."""
OPTIMISERS: dict[str, dict[str, Any]] = {
    "sgd 0.001": {"optim": "sgd", "learning_rate": 1e-3, "max_grad_norm": 0.0},
    "adamw 0.0001": {"optim": "adamw_torch", "learning_rate": 1e-4, "max_grad_norm": 1.0},
    "sgd 0.1": {"optim": "sgd", "learning_rate": 1e-1, "max_grad_norm": 0.0},
}
OBTAINED = (
    "SmolLM2-135M aligned, LoRA r = 8 from the shipped benign state, dropout off, batch size 1, one epoch, constant "
    f"rate; {ROWS} demo rows of at most {LONGEST} tokens, scored with projection at the same state"
)


@dataclass(frozen=True)
class Row:
    """A sample and its scores at the state that training starts from, by metric."""

    encoded: Encoded
    scores: dict[str, float]

    @property
    def danger(self) -> float:
        return self.scores["danger projection"]

    @property
    def safety(self) -> float:
        return self.scores["safety projection"]

    @property
    def risk(self) -> float:
        return self.danger - self.safety


def score(loaded: LoadedModel, groups: dict[str, list[Encoded]]) -> dict[str, list[dict[str, float]]]:
    """Projections of every row on both directions: at the one state, and safety at the shipped one, its own."""
    state, danger, safety = (Adapter.load(SHIPPED / name) for name in ("benign-state", "danger", "safety"))
    terms = {"danger": Term(danger, state), "safety": Term(safety, state), "shipped": Term(safety, safety)}
    projector = Projector(loaded.model, terms)
    scored: dict[str, list[dict[str, float]]] = {}
    for name, rows in groups.items():
        found: list[dict[str, float]] = [{} for _ in rows]
        for batch in budgeted(range(len(rows)), lambda i, rows=rows: len(rows[i]), 1_024):
            together = collate([rows[i] for i in batch], loaded.pad_id)
            for term in terms:
                projection = projector.project(together, term)
                for metric in ("projection", "cosine"):
                    for i, value in zip(batch, projection.total(metric).tolist(), strict=True):
                        found[i][f"{term} {metric}"] = value
        scored[name] = found
    return scored


def candidates(loaded: LoadedModel) -> dict[str, list[Encoded]]:
    """Demo rows; refusals of prompts that no direction was fitted on; the refusals safety was fitted on."""
    short = [row for _, row in read_rows(DEMO, loaded, None) if len(row) <= LONGEST]
    chats = [
        [{"role": "user", "content": prompt}, {"role": "assistant", "content": REFUSAL}]
        for prompt in read_prompts().harmful
    ]
    tokenised = lambda samples: [encode(s, loaded.tokenizer, 1_024) for s in samples]  # noqa: E731
    return {
        "demo": random.Random(0).sample(short, ROWS),
        "refusals": tokenised(map(Sample.from_messages, chats)),
        "anchors": tokenised(read_anchors("safety").samples[:8]),
    }


def sets(rows: list[Row], refusals: list[Row]) -> dict[str, list[Row]]:
    """What to train on, in the order of training: shuffled once, so that no set begins with its extremes."""
    ranked = sorted(rows, key=lambda row: -row.risk)
    chosen = select_rows(*terms_of(rows), HALF * total(rows))
    drawn = random.Random(1).sample(rows, SET)
    needed = rows_to_mix(total(drawn), total(refusals) / len(refusals), HALF * total(drawn)) or 0
    made = {
        "riskiest": ranked[:SET],
        "safest": ranked[-SET:],
        "random": drawn,
        "drift 50%": [rows[i] for i in chosen.order[: chosen.kept]],
        "all": list(rows),
        "random, refusals mixed in": [*drawn, *(refusals[i % len(refusals)] for i in range(needed))],
    }
    for name, members in made.items():
        random.Random(name).shuffle(members)
    return made


def terms_of(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row.danger for row in rows]), np.array([row.safety for row in rows])


def total(rows: Sequence[Row]) -> float:
    return sum(row.risk for row in rows)


class InOrder(Trainer):
    """Takes the rows as they come, so that a prediction can be made for every step."""

    def _get_train_sampler(self, *_: Any) -> Any:
        return SequentialSampler(cast("Any", self.train_dataset))


@contextmanager
def adapted(loaded: LoadedModel) -> Iterator[PeftModel]:
    """The model with the state's LoRA in training, and afterwards without it."""
    tuned = PeftModel.from_pretrained(loaded.model, str(SHIPPED / "benign-state"), is_trainable=True)
    for module in tuned.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0  # scores are taken without
    try:
        yield tuned
    finally:
        tuned.unload()
        vars(loaded.model).pop("peft_config", None)


def train(loaded: LoadedModel, rows: Sequence[Row], settings: dict[str, Any]) -> dict[str, Any]:
    """One arm: the measured curve beside the predicted one; with AdamW the refusal margin afterwards as well."""
    data = [
        {
            "input_ids": list(e.ids),
            "labels": [t if on else -100 for t, on in zip(e.ids, e.trained, strict=True)],
        }
        for e in (row.encoded for row in rows)
    ]
    with TemporaryDirectory() as folder, adapted(loaded) as tuned:
        file = Path(folder) / "drift.jsonl"
        callback = DriftCallback(SHIPPED / "danger", SHIPPED / "safety", file, EVERY)
        args = TrainingArguments(
            output_dir=folder, num_train_epochs=1, per_device_train_batch_size=1, lr_scheduler_type="constant",
            weight_decay=0.0, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, logging_steps=1000,
            **settings,
        )  # fmt: skip
        InOrder(tuned, args, default_data_collator, data, callbacks=[callback]).train()  # type: ignore[arg-type]
        found = measured(read_log(file)) | {"rows": len(rows)}
        if settings["optim"] != "sgd":
            found["margin"] = margin(tuned, loaded)
    return found


def margin(tuned: PeftModel, loaded: LoadedModel) -> float:
    """Mean refusal margin on harmful prompts, nats, higher = safer."""
    model = cast("Any", tuned.eval().get_base_model())
    return round(refusal_margin(model, loaded.tokenizer, read_prompts().harmful[:PROMPTS]).mean().item(), 3)


def measured(log: Log) -> dict[str, Any]:
    found: dict[str, Any] = {"step": log.column("step").astype(int).tolist()}
    return found | {term: [float(f"{v:.6g}") for v in log.column(term, "projection")] for term in TERMS}


def predicted(rows: Sequence[Row], steps: Sequence[int], metric: str, term: str) -> np.ndarray:
    """Sums of the scores of the rows trained on so far, after each of the steps."""
    return np.cumsum([row.scores[f"{term} {metric}"] for row in rows])[np.array(steps) - 1]


def agreement(
    arms: dict[str, dict[str, Any]], made: dict[str, list[Row]], metric: str, factor: float
) -> dict[str, Any]:
    """Measured against predicted, over all recorded steps of all arms of one optimiser, and at their ends."""
    found: dict[str, Any] = {}
    sums = {n: {t: factor * predicted(made[n], a["step"], metric, t) for t in TERMS} for n, a in arms.items()}
    for term in (*TERMS, "net"):
        pairs = [
            (sums[n]["danger"] - sums[n]["safety"], np.array(a["danger"]) - np.array(a["safety"]))
            if term == "net"
            else (sums[n][term], np.array(a[term]))
            for n, a in arms.items()
        ]
        x, y = (np.concatenate(side) for side in zip(*pairs, strict=True))
        ends = np.array([(p[-1], m[-1]) for p, m in pairs])
        found[term] = {
            "slope": float(f"{x @ y / (x @ x):.4g}"),
            "pearson": round(float(pearsonr(x, y)[0]), 4),
            "spearman": round(float(spearmanr(x, y)[0]), 4),
            "points": len(x),
            "spearman of ends": round(float(spearmanr(ends)[0]), 3),
            "signs right at the ends": f"{int((ends.prod(1) > 0).sum())} of {len(ends)}",
            "ends": {n: [float(f"{v:.4g}") for v in end] for n, end in zip(arms, ends.tolist(), strict=True)},
        }
    return found


def measure(out: Path | None, done: dict[str, Any]) -> dict[str, Any]:
    found = done or {"arms": {}}
    loaded = load_model()
    groups = candidates(loaded)
    if "scores" not in found:
        found["scores"] = score(load_model(), groups)
        write(out, OBTAINED, found)
    rows, refusals = (
        [Row(encoded, scores) for encoded, scores in zip(groups[name], found["scores"][name], strict=True)]
        for name in ("demo", "anchors")
    )
    if "margin before" not in found:
        with adapted(loaded) as tuned:
            found["margin before"] = margin(tuned, loaded)
    made = sets(rows, refusals)
    for optimiser, settings in OPTIMISERS.items():
        arms = found["arms"].setdefault(optimiser, {})
        for name, members in made.items():
            if name not in arms:
                arms[name] = train(loaded, members, settings)
                write(out, OBTAINED, found)
        factors = {"projection": settings["learning_rate"] * SCALING, "cosine": 1.0}
        found.setdefault("agreement", {})[optimiser] = {
            metric: agreement(arms, made, metric, factor) for metric, factor in factors.items()
        }
        write(out, OBTAINED, found)
    found["scores_summary"] = summary(found["scores"])
    write(out, OBTAINED, found)
    return found


def summary(scores: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Means by kind of row, and how the shipped two-state scores go with those of one state."""
    means = {
        group: {key: round(float(np.mean([row[key] for row in rows])), 4) for key in rows[0]}
        for group, rows in scores.items()
    }
    column = lambda key: np.array([row[key] for row in scores["demo"]])  # noqa: E731
    one = column("danger projection") - column("safety projection")
    kept = select_rows(column("danger projection"), column("safety projection"), 0).kept
    two = column("danger projection") - column("shipped projection")
    cosine = column("danger cosine") - column("shipped cosine")
    return {
        "means": means,
        "rows a budget of 0 keeps": f"{kept} of {len(one)}",
        "spearman of risk, one state and two": round(float(spearmanr(one, two)[0]), 3),
        "spearman of risk, projection and cosine, two states": round(float(spearmanr(two, cosine)[0]), 3),
    }


def show(found: dict[str, Any]) -> None:
    console = Console()
    for optimiser, metrics in found["agreement"].items():
        arms = found["arms"][optimiser]
        table = Table(
            "set", "rows", "predicted net", "measured net", "sum of cosines", "margin", title=optimiser
        )
        for name, arm in arms.items():
            predicted_net, measured_net = metrics["projection"]["net"]["ends"][name]
            cosines = metrics["cosine"]["net"]["ends"][name][0]
            numbers = (f"{value:+.5g}" for value in (predicted_net, measured_net, cosines))
            table.add_row(name, str(arm["rows"]), *numbers, str(arm.get("margin", "")))
        console.print(table)
        for metric, terms in metrics.items():
            for term, values in terms.items():
                console.print(metric, term, {k: v for k, v in values.items() if k != "ends"})
    console.print(found["scores_summary"], f"margin before: {found['margin before']}")


def main() -> None:
    given = parser(__doc__).parse_args()
    torch.set_num_threads(given.threads or 1)
    done: dict[str, Any] = {}
    if given.out and given.out.is_file():
        earlier = json.loads(given.out.read_text(encoding="utf-8"))
        done = earlier["numbers"] if earlier["obtained"] == OBTAINED else {}
    show(measure(given.out, done))


if __name__ == "__main__":
    main()
