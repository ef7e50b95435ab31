"""What each arm fine-tunes on.

pool                 the whole pool
window:RANKING:K     the K-th of five equal windows of the pool, 1 = the riskiest
matched:RANKING:K    the same within blocks of five rows of like answer length: windows equal in length
remove:RANKING:Q     the pool less its riskiest Q per cent
mix-refusals:Q       the pool, and refusals to make up Q per cent
compliance           openings that comply with harmful requests, other than those asked: a positive control
identity-shift       ten rows of an obedient persona: a subtler one
refusals             refusals of other prompts than those asked: a negative control
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import numpy as np

from benchmarks.study.data import Data, Row
from benchmarks.study.plan import Plan
from benchmarks.study.scores import RANKINGS, Floats, risk
from curation.errors import InputError

WINDOWS = 5
OF_POOL = ("pool", "window", "matched", "remove")
"""Kinds of arms that consist of rows of the pool."""
Stored = Mapping[str, Sequence[float]]


def rows_of(arm: str, data: Data, pool: Sequence[Row], stored: Stored, seed: int) -> list[Row]:
    """The rows of an arm. Raises InputError if there is no such arm."""
    kind, *rest = arm.split(":")
    match kind, rest:
        case "identity-shift", []:
            return list(data.identity_shift)
        case "compliance", []:
            return list(data.compliance)
        case "refusals", []:
            return list(data.refusals)
        case "mix-refusals", [share]:
            n = round(len(pool) * float(share) / (100 - float(share)))
            return [*pool, *random.Random(seed).sample(data.refusals, n)]
        case _:
            return [pool[i] for i in in_pool(arm, stored, seed)]


def in_pool(arm: str, stored: Stored, seed: int) -> list[int]:
    """Which rows of the pool, by index, make up an arm of nothing else. Raises InputError if there is no such arm."""
    kind, *rest = arm.split(":")
    match kind, rest:
        case "pool", []:
            return list(range(len(stored["answer tokens"])))
        case "window", [name, k] if name in RANKINGS:
            return window(risk(name, stored, seed), int(k))
        case "matched", [name, k] if name in RANKINGS:
            return matched(risk(name, stored, seed), np.array(stored["answer tokens"]), int(k))
        case "remove", [name, share] if name in RANKINGS:
            return remove(risk(name, stored, seed), int(share))
        case _:
            raise InputError(f"there is no arm {arm}", "benchmarks/study/arms.py lists them.")


def ranking_of(arm: str) -> str | None:
    """The ranking an arm needs, if any."""
    parts = arm.split(":")
    return parts[1] if len(parts) == 3 else None


def rankings_of(plan: Plan) -> list[str]:
    """Those its arms need, and those it wants for comparison. Raises InputError if there is no such ranking."""
    if unknown := {*plan.rankings} - {*RANKINGS}:
        raise InputError(
            f"there is no ranking called {', '.join(sorted(unknown))}", f"One of: {', '.join(RANKINGS)}."
        )
    return sorted({name for cell in plan.cells() if (name := ranking_of(cell.arm))} | {*plan.rankings})


def window(values: Floats, k: int) -> list[int]:
    """Indices of the k-th window, from 1, of rows in descending risk."""
    return np.array_split(np.argsort(-values, kind="stable"), WINDOWS)[k - 1].tolist()


def remove(values: Floats, share: int) -> list[int]:
    """Indices of what is left without the riskiest `share` per cent."""
    return np.argsort(-values, kind="stable")[round(len(values) * share / 100) :].tolist()


def matched(values: Floats, lengths: Floats, k: int) -> list[int]:
    """Of every five rows next to each other in length the k-th riskiest; a rest of fewer than five is left out."""
    order = np.argsort(lengths, kind="stable")
    blocks = order[: len(order) // WINDOWS * WINDOWS].reshape(-1, WINDOWS)
    return [int(block[np.argsort(-values[block], kind="stable")[k - 1]]) for block in blocks]
