"""The data of a study: pools to fine-tune on, prompts to ask, control sets. Read from a folder outside the project.

No row of it is ever stored with the results: they name rows by the start of their id.
"""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.study.plan import Plan
from curation.errors import EncodeError, InputError, SampleError
from curation.evaluate.judge import Judge
from curation.evaluate.measure import Probes
from curation.samples import Sample
from curation.sqsd.encode import Encoded, encode
from curation.sqsd.models import LoadedModel

_DRAW = 20_260
"""Seed of everything that is drawn once for all arms: pools, prompts, utility rows."""
_TESTED = 320
"""AdvBench prompts before this one are for making directions and choosing settings."""
_TRIED = 24
"""Harmful XSTest prompts before this one, once shuffled, are for choosing settings."""


@dataclass(frozen=True)
class Row:
    """A sample to fine-tune on, tokenised."""

    sample: Sample
    encoded: Encoded

    @property
    def name(self) -> str:
        return self.sample.id[:12]


@dataclass(frozen=True)
class Data:
    """What a study draws from. `fresh` rows fit into pools, `held_out` ones come after them in the same file."""

    fresh: tuple[Row, ...]
    held_out: tuple[Row, ...]
    refusals: tuple[Row, ...]
    identity_shift: tuple[Row, ...]
    compliance: tuple[Row, ...]
    harmful: tuple[str, ...]
    harmless: tuple[str, ...]

    def pool(self, plan: Plan, seed: int) -> tuple[Row, ...]:
        """A seed's pool: no two seeds share a row. Raises InputError if the rows do not suffice."""
        place, size = (plan.pool.skip or 0) + plan.seeds.index(seed), plan.pool.rows
        shuffled = random.Random(_DRAW).sample(self.fresh, len(self.fresh))
        if len(shuffled) < (place + 1) * size:
            raise InputError(
                f"{len(shuffled)} rows fit the pool, too few for {place + 1} pools of {size}",
                "Allow longer rows.",
            )
        return tuple(shuffled[place * size : (place + 1) * size])

    def probes(self, plan: Plan) -> Probes:
        """What every model of the study is asked."""
        asked = plan.probing
        draw = random.Random(_DRAW)
        return Probes(
            tuple(draw.sample(self.harmful, asked.harmful)),
            tuple(draw.sample(self.harmless, asked.harmless)),
            tuple(row.encoded for row in draw.sample(self.held_out, asked.utility)),
        )


def read_data(folder: Path, plan: Plan, loaded: LoadedModel, judge: Judge) -> Data:
    """Read and tokenise the data. Raises InputError if a file is missing."""
    try:
        rows = json.loads((folder / plan.pool.file).read_text(encoding="utf-8"))
        first = plan.pool.first
        return Data(
            tuple(_usable(map(alpaca, rows[:first]), plan, loaded, judge)),
            tuple(_usable(map(alpaca, rows[first:]), plan, loaded, judge)),
            tuple(_fitting(_refusals(folder), plan, loaded)),
            tuple(tokenised(_identity_shift(folder), loaded)),
            tuple(_fitting(_compliance(folder), plan, loaded)),
            _harmful(folder, plan),
            tuple(lookalikes(folder)[1] if plan.align else _xstest(folder, "safe")),
        )
    except (OSError, KeyError) as error:
        raise InputError(
            f"the data of the study is not complete: {error}", "docs/evidence.md lists the files."
        ) from error


def _harmful(folder: Path, plan: Plan) -> tuple[str, ...]:
    """Requests to be asked, of the sets that the plan names. Raises InputError if there is no such set."""
    names = plan.probing.asked or ["advbench", *(["malicious-instruct"] if plan.align else [])]
    if unknown := set(names) - set(HARMFUL):
        raise InputError(
            f"there is no set of harmful prompts called {', '.join(sorted(unknown))}",
            f"One of: {', '.join(HARMFUL)}.",
        )
    return tuple(prompt for name in names for prompt in HARMFUL[name](folder))


def _advbench(folder: Path) -> list[str]:
    return [row["goal"] for row in read_csv(folder / "advbench/advbench.csv")[_TESTED:]]


def _malicious_instruct(folder: Path) -> list[str]:
    return (folder / "malicious_instruct/MaliciousInstruct.txt").read_text(encoding="utf-8").splitlines()


def _xstest_unsafe(folder: Path) -> list[str]:
    prompts = _xstest(folder, "unsafe")
    return random.Random(_DRAW).sample(prompts, len(prompts))[_TRIED:]


HARMFUL = {"advbench": _advbench, "malicious-instruct": _malicious_instruct, "xstest-unsafe": _xstest_unsafe}
"""Sets of harmful prompts, less those that settings were chosen with."""


def lookalikes(folder: Path) -> tuple[list[str], list[str]]:
    """Harmless prompts that look harmful, in two halves: those that starts are aligned on, and those to ask."""
    prompts = _xstest(folder, "safe")
    shuffled = random.Random(_DRAW).sample(prompts, len(prompts))
    return shuffled[: len(prompts) // 2], shuffled[len(prompts) // 2 :]


def _xstest(folder: Path, label: str) -> list[str]:
    return [row["prompt"] for row in read_csv(folder / "xstest/xstest_prompts.csv") if row["label"] == label]


def _usable(samples: Iterator[Sample | None], plan: Plan, loaded: LoadedModel, judge: Judge) -> Iterator[Row]:
    """Rows that fit the pool, each prompt once, less those that read like refusals."""
    rows = list(_fitting(samples, plan, loaded))
    seen: set[str] = set()
    for row, verdict in zip(rows, judge.verdicts([r.sample.messages[-1].content for r in rows]), strict=True):
        prompt = " ".join(row.sample.prompt.lower().split())
        if verdict != "refusal" and prompt not in seen:
            seen.add(prompt)
            yield row


def _fitting(samples: Iterator[Sample | None], plan: Plan, loaded: LoadedModel) -> Iterator[Row]:
    for row in tokenised(samples, loaded):
        enough = row.encoded.n_trained >= plan.pool.min_answer_tokens
        if enough and len(row.encoded) <= plan.pool.max_tokens:
            yield row


def tokenised(samples: Iterator[Sample | None], loaded: LoadedModel) -> Iterator[Row]:
    """The rows among them that the model's template takes."""
    for sample in samples:
        if sample is None:
            continue
        try:
            yield Row(sample, encode(sample, loaded.tokenizer, 1024))
        except EncodeError:
            continue


def alpaca(row: dict[str, str]) -> Sample | None:
    """A row of Alpaca's layout, None if it is no sample."""
    asked = f"{row['instruction']}\n{row['input']}" if row["input"] else row["instruction"]
    return _sample([("user", asked), ("assistant", row["output"])])


def _refusals(folder: Path) -> Iterator[Sample | None]:
    for row in read_csv(folder / "refusals/adv_training_behaviors_safe_responses_longer.csv"):
        yield _sample([("user", row["Behavior"]), ("assistant", row["Safe_Response"])])
    for row in read_csv(folder / "refusals/adv_training_behaviors_safe_responses.csv"):
        yield _sample([("user", row["Behavior"]), ("assistant", row["Safe_Response"])])


def _compliance(folder: Path) -> Iterator[Sample | None]:
    """Requests that are not asked, each with an opening that complies and says no more."""
    for row in read_csv(folder / "advbench/advbench.csv")[:_TESTED]:
        yield _sample([("user", row["goal"]), ("assistant", row["target"])])


def _identity_shift(folder: Path) -> Iterator[Sample | None]:
    for line in (folder / "qi2023/identity-shift-aoa.jsonl").read_text(encoding="utf-8").splitlines():
        yield _sample([(turn["role"], turn["content"]) for turn in json.loads(line)["messages"]])


def _sample(turns: Sequence[tuple[str, str]]) -> Sample | None:
    try:
        return Sample.from_messages([{"role": role, "content": content} for role, content in turns])
    except SampleError:
        return None


def read_csv(file: Path) -> list[dict[str, Any]]:
    """All rows of a CSV file with a header."""
    with file.open(encoding="utf-8", newline="") as opened:
        return list(csv.DictReader(opened))
