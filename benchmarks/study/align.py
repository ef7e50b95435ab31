"""Starts of a study's own: for every seed a model aligned anew, and the adapters that the score needs fitted from it.

They are made once and kept outside the results, in the cache of this machine: made again from the same seed on one
CPU they come out the same, bit by bit.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import astuple, replace
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from benchmarks.study.data import alpaca, lookalikes, read_csv, tokenised
from benchmarks.study.plan import Align, Plan, Start
from curation.errors import InputError
from curation.evaluate.judge import Judge
from curation.samples import Sample
from curation.sqsd.cards import Kind, TrainSettings
from curation.sqsd.directions import AnchorSet, fit, read_anchors
from curation.sqsd.models import LoadedModel, load_model

KINDS: dict[str, Kind] = {"danger": "danger", "safety": "safety", "benign": "state"}
ADAPTERS = {
    "danger": TrainSettings(epochs=4),
    "safety": TrainSettings(epochs=4),
    "benign": TrainSettings(epochs=3, learning_rate=3e-4),
}
"""How directions and the benign state are fitted, on the built-in anchors: as those that this project ships."""


def start_of(plan: Plan, seed: int, data: Path, say: Callable[[str], None] = lambda _: None) -> Start:
    """The start of a seed: the plan's one, or the seed's own, which is made if it is not there yet."""
    own = plan.start_seed(seed)
    if plan.align is None or own is None:
        return plan.start
    folder = user_cache_path("curation") / "study" / plan.name / f"seed{own}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        if not (folder / plan.start.model).is_dir():
            say(f"aligning, seed {own}")
            base = load_model(plan.align.base)
            rows = AnchorSet("alignment", tuple(alignment_rows(plan.align, own, data, base)))
            settings = TrainSettings(
                rank=plan.align.rank, alpha=2 * plan.align.rank, dropout=0.0, seed=own,
                epochs=plan.align.epochs, learning_rate=plan.align.learning_rate,
            )  # fmt: skip
            fit(base, rows, "state", folder / plan.start.model, settings)
        if missing := [name for name in ADAPTERS if not (folder / name).is_dir()]:
            aligned = load_model(str(folder / plan.start.model))
        for name in missing:
            say(f"fitting {name}, seed {own}")
            settings = replace(ADAPTERS[name], seed=own)
            fit(aligned, read_anchors(name), KINDS[name], folder / name, settings)
    return Start(*(str(folder / name) for name in astuple(plan.start)))


def alignment_rows(align: Align, seed: int, data: Path, loaded: LoadedModel) -> Iterator[Sample]:
    """What a seed's start is aligned on: refusals, answers to harmless look-alikes, and ordinary answers.

    Raises InputError if there are too few.
    """
    draw, judge = random.Random(seed), Judge.load()
    refused = list(_short(_refusals(data), align, loaded))
    verdicts = judge.verdicts([sample.messages[-1].content for sample in refused])
    refused = [s for s, verdict in zip(refused, verdicts, strict=True) if verdict == "refusal"]
    seen, _ = lookalikes(data)
    answered = list(_short(_answers(data, set(seen)), align, loaded))
    demo = json.loads((data / "alpaca_en_demo/alpaca_en_demo.json").read_text(encoding="utf-8"))
    ordinary = list(_short(map(alpaca, demo), align, loaded))
    for rows, n in ((refused, align.refusals), (answered, align.lookalikes), (ordinary, align.benign)):
        if len(rows) < n:
            raise InputError(
                f"{len(rows)} rows are short enough to align on, too few for {n}", "Raise max_tokens."
            )
        yield from draw.sample(rows, n)


def _answers(data: Path, prompts: set[str]) -> Iterator[Sample | None]:
    """Look-alikes with a reply that people called full compliance, its first sentences."""
    for file in sorted((data / "xstest").glob("xstest_v2_completions_*.csv")):
        for row in read_csv(file):
            if row["prompt"] in prompts and row["final_label"] == "1_full_compliance":
                yield _answered(row["prompt"], _opening(row["completion"]))


def _opening(text: str, words: int = 40) -> str:
    """The whole sentences among the first words, at least one."""
    kept = ""
    for sentence in " ".join(text.split()).replace("! ", "!\n").replace(". ", ".\n").splitlines():
        if kept and len(f"{kept} {sentence}".split()) > words:
            break
        kept = f"{kept} {sentence}".strip()
    return kept


def _refusals(data: Path) -> Iterator[Sample | None]:
    rows = json.loads((data / "safety_tuned/safety_only_data_Instructions.json").read_text(encoding="utf-8"))
    for row in rows:
        yield _answered(row["instruction"], row["output"])


def _answered(prompt: str, answer: str) -> Sample | None:
    return alpaca({"instruction": prompt, "input": "", "output": answer})


def _short(samples: Iterator[Sample | None], align: Align, loaded: LoadedModel) -> Iterator[Sample]:
    for row in tokenised(samples, loaded):
        if len(row.encoded) <= align.max_tokens:
            yield row.sample
