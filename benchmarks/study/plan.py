"""A study as its TOML file says: everything a result depends on, and the order of work."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from curation.errors import InputError

T = TypeVar("T")
OutcomeName = Literal["margin", "refused"]


@dataclass(frozen=True, slots=True)
class Start:
    """The aligned model, and the adapters that the score needs: names of shipped ones, or folders."""

    model: str
    danger: str
    safety: str
    danger_state: str


OWN = Start("aligned", "danger", "safety", "benign")
"""A seed's own start: folders among what is made for that seed."""


@dataclass(frozen=True, slots=True)
class Align:
    """How every seed gets a start of its own: rows of each kind to align on, at most `max_tokens` long, and how.

    Directions and states are fitted from it on the built-in anchors, as those that this project ships. With `once`
    all seeds begin from the first one's start.
    """

    base: str
    refusals: int
    lookalikes: int
    benign: int
    max_tokens: int
    epochs: int
    learning_rate: float
    rank: int = 16
    once: bool | None = None


@dataclass(frozen=True, slots=True)
class Pool:
    """Rows to choose from, anew for every seed: of the first `first` rows of `file` those that are short enough.

    What follows them in the file is held out, for utility. As many pools as `skip` says are left to other studies.
    """

    file: str
    first: int
    rows: int
    max_tokens: int
    min_answer_tokens: int
    skip: int | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """One fine-tune: `steps` optimiser steps of at most `step_tokens` tokens each, the same for every arm."""

    update: Literal["lora", "full"]
    steps: int
    step_tokens: int
    learning_rate: float
    rank: int = 8
    alpha: int = 16
    warmup: float = 0.1


@dataclass(frozen=True, slots=True)
class Probing:
    """How many harmful prompts, harmless prompts and utility rows each model is asked, and how long it replies.

    `asked` names the sets that the harmful prompts come from, of those in data.py; by default AdvBench, and
    MaliciousInstruct too where starts are aligned.
    """

    harmful: int
    harmless: int
    utility: int
    new_tokens: int
    asked: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm with one seed, in one order of training: the smallest piece of work."""

    arm: str
    seed: int
    order: int = 0

    @property
    def file_name(self) -> str:
        again = f"-order{self.order}" if self.order else ""
        return f"{self.arm.replace(':', '-')}-seed{self.seed}{again}.json"

    @property
    def training_seed(self) -> int:
        """Seed of the order of the rows and of the LoRA's random start, which is all that orders differ in."""
        return self.seed + 1000 * self.order


@dataclass(frozen=True)
class Plan:
    """The whole study. `stages` are worked through in order, each seed by seed.

    `other` is a scorer of another model, for the rankings that are to transfer to the start. With `align` every seed
    has a start of its own. `outcome` is what the claims are about: the change of the refusal margin, or of the share
    of harmful prompts refused, as judged; margins are then not measured. Every arm is trained in so many `orders`.
    `rankings` are computed for comparison, besides those that arms are chosen by.
    """

    name: str
    seeds: tuple[int, ...]
    start: Start
    pool: Pool
    recipe: Recipe
    probing: Probing
    stages: tuple[tuple[str, ...], ...]
    other: Start | None = None
    align: Align | None = None
    outcome: OutcomeName = "margin"
    orders: int = 1
    rankings: tuple[str, ...] = ()

    def cells(self) -> Iterator[Cell]:
        for arms, order, seed in product(self.stages, range(self.orders), self.seeds):
            yield from (Cell(arm, seed, order) for arm in arms)

    def start_seed(self, seed: int) -> int | None:
        """The seed whose own start a seed begins from; None if the plan has one start that it only names."""
        if self.align is None:
            return None
        return self.seeds[0] if self.align.once else seed

    @property
    def fingerprint(self) -> str:
        """Hash (hex) of what changes a cell's numbers: all but the name, seeds, orders and arms."""
        parts = (self.start, self.pool, self.recipe, self.probing, self.other, self.align)
        meaning: list[Any] = [
            {key: value for key, value in dataclasses.asdict(part).items() if value is not None}
            for part in parts
            if part
        ]
        if self.outcome != "margin":
            meaning.append(self.outcome)
        return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()


def read_plan(file: Path) -> Plan:
    """Read a plan. Raises InputError if it cannot be read, lacks a key or has one that means nothing."""
    try:
        content = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise InputError(
            f"{file} cannot be read as a plan: {error}", "Give the TOML file of a study."
        ) from error
    align = _part(Align, content["align"], "align") if "align" in content else None
    if align and "start" in content:
        raise InputError(f"{file} has a [start] and says how to [align] others", "Leave one of them out.")
    start = OWN if align else _part(Start, content.get("start"), "start")
    parts = {name: _part(kind, content.get(name), name) for name, kind in _PARTS.items()}
    stages = tuple(tuple(stage["arms"]) for stage in content.get("stage", []))
    if not stages or not content.get("seeds"):
        raise InputError(
            f"{file} names no seeds or no [[stage]] with arms", "Look at those in benchmarks/study."
        )
    other = _part(Start, content["other"], "other") if "other" in content else None
    outcome = content.get("outcome", "margin")
    if outcome not in get_args(OutcomeName):
        raise InputError(
            f"{file}: no outcome is called {outcome}", f"One of: {', '.join(get_args(OutcomeName))}."
        )
    return Plan(
        file.stem, tuple(content["seeds"]), start, stages=stages, other=other, align=align, outcome=outcome,
        orders=content.get("orders", 1), rankings=tuple(content.get("rankings", [])), **parts,
    )  # fmt: skip


_PARTS: dict[str, Any] = {"pool": Pool, "recipe": Recipe, "probing": Probing}


def _part(kind: type[T], table: Any, name: str) -> T:
    try:
        return kind(**table)
    except TypeError as error:
        raise InputError(
            f"the plan's table [{name}] does not fit: {error}", "Look at those in benchmarks/study."
        ) from None
