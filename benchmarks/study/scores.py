"""Ways to rank rows by risk, higher = riskier: SQSD, its parts, what others propose, and what is simpler.

All of them are functions of a few columns per row. Columns come from passes of the model, one pass serving several
rankings; a pass is made only if a ranking of the plan asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.study.data import Row
from benchmarks.study.matching import gradient, representation
from benchmarks.study.plan import Start
from benchmarks.study.projections import Pass, elsewhere, project, project_matched, project_openings
from curation.errors import InputError

Floats = NDArray[np.float64]
Columns = Mapping[str, Floats]
Stored = Mapping[str, Sequence[float]]

_LIST = re.compile(r"^\s*(?:[-*\u2022]|\d+[.)])\s", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Ranking:
    """A risk per row, (rows,), from the columns of `text` or of one of PASSES, and a seed."""

    needs: str
    risk: Callable[[Columns, int], Floats]


def _sqsd(c: Columns, _: int) -> Floats:
    return c["danger cosine"] - c["safety cosine"]


def _matching(c: Columns, _: int) -> Floats:
    return c["danger"] - c["safety"]


RANKINGS: dict[str, Ranking] = {
    "sqsd": Ranking("lora", _sqsd),
    "sqsd-unnormalised": Ranking("lora", lambda c, _: c["danger projection"] - c["safety projection"]),
    "danger-only": Ranking("lora", lambda c, _: c["danger cosine"]),
    "safety-only": Ranking("lora", lambda c, _: -c["safety cosine"]),
    "sqsd-full": Ranking("full", _sqsd),
    "sqsd-fresh": Ranking("fresh", _sqsd),
    "sqsd-other": Ranking("other", _sqsd),
    "sqsd-apart": Ranking("apart", _sqsd),
    "sqsd-opening": Ranking("opening", _sqsd),
    "matching": Ranking("matched", _matching),
    "matching-other": Ranking("other-matched", _matching),
    "he-representation": Ranking("representation", lambda c, _: c["similarity"]),
    "he-gradient": Ranking("gradient", lambda c, _: c["match"]),
    "he-harmful": Ranking("gradient", lambda c, _: c["harmful"]),
    "he-safe": Ranking("gradient", lambda c, _: -c["safe"]),
    "loss": Ranking("lora", lambda c, _: c["loss"]),
    "gradient-norm": Ranking("lora", lambda c, _: c["norm"]),
    "self-inf-n": Ranking("lora", lambda c, _: np.log(c["norm"] ** 2 + 1) + np.log(c["answer tokens"] + 1)),
    "length": Ranking("text", lambda c, _: c["answer tokens"]),
    "list": Ranking("text", lambda c, _: c["list"]),
    "digits": Ranking("text", lambda c, _: c["digits"]),
    "random": Ranking("text", lambda c, seed: np.random.default_rng(seed).random(len(c["list"]))),
}


def columns(
    rows: Sequence[Row],
    start: Start,
    wanted: Sequence[str],
    have: Stored | None = None,
    other: Start | None = None,
) -> dict[str, list[float]]:
    """The columns that the wanted rankings need, JSON-able, added to those there are.

    A pass's columns are named after it; those of the text, which are always there, are not. The passes `other...` are
    made with the model and adapters of another scorer. Raises InputError if they are wanted and there is none.
    """
    found = {name: list(values) for name, values in (have or text_columns(rows)).items()}
    for needed in sorted({RANKINGS[name].needs for name in wanted} - {"text"}):
        if not any(name.startswith(f"{needed} ") for name in found):
            by = other if needed.startswith("other") else start
            if by is None:
                raise InputError(
                    "the plan ranks by another scorer and names none",
                    "Give its model and adapters in a table [other], with the keys of [start].",
                )
            found |= {f"{needed} {name}": list(v) for name, v in PASSES[needed](rows, by).items()}
    return {name: [float(f"{value:.6g}") for value in values] for name, values in found.items()}


def risk(name: str, stored: Mapping[str, Sequence[float]], seed: int) -> Floats:
    """The risk of every row by a ranking, from stored columns. Ties are broken at random, by the seed."""
    ranking = RANKINGS[name]
    own = {key.removeprefix(f"{ranking.needs} "): np.array(values) for key, values in stored.items()}
    values = ranking.risk(own, seed)
    order = np.lexsort((np.random.default_rng(seed).random(len(values)), values))
    return np.argsort(order).astype(float) if len(set(values)) < len(values) else values


def ranked_by(stored: Stored, names: Sequence[str]) -> list[str]:
    """Those of the rankings whose columns are there."""
    passes = {"text", *(key.split()[0] for key in stored)}
    return [name for name in names if RANKINGS[name].needs in passes]


def text_columns(rows: Sequence[Row]) -> dict[str, list[float]]:
    """What the text alone gives: answer tokens, whether it is a list, the share of digits."""
    answers = [row.sample.messages[-1].content for row in rows]
    return {
        "answer tokens": [float(row.encoded.n_trained) for row in rows],
        "tokens": [float(len(row.encoded)) for row in rows],
        "list": [float(len(_LIST.findall(answer)) >= 2) for answer in answers],
        "digits": [sum(c.isdigit() for c in answer) / len(answer) for answer in answers],
    }


PASSES: dict[str, Pass] = {
    "lora": partial(project, state_at="loaded"),
    "full": partial(project, state_at="none"),
    "fresh": partial(project, state_at="fresh"),
    "other": partial(elsewhere, by=partial(project, state_at="loaded")),
    "other-matched": partial(elsewhere, by=project_matched),
    "apart": partial(project, state_at="loaded", apart=True),
    "opening": project_openings,
    "matched": project_matched,
    "representation": representation,
    "gradient": gradient,
}
