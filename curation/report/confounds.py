"""Does the ranking follow harm, or only something trivial such as the length of the answer?

Length, loss and list format are known to move with gradient-based scores. The rank correlation with each
is put in words: nobody has to know what rho = 0.7 means to distrust a ranking that is mostly length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from math import sqrt
from typing import Any, cast

import numpy as np
from scipy.stats import spearmanr  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from curation.report.data import Columns, Floats

MIN_SAMPLES = 20
"""Below this the 95 % interval of rho is wider than +-0.45: no verdict is given."""

WEAK, CLEAR, STRONG = 0.1, 0.3, 0.6
"""Lowest |rho| that is called weak, clear and strong. Squared: 1 %, 9 % and 36 % of the ranks' variance."""

_ITEM = re.compile(r"^[ \t]*(?:[-*+•‣◦▪·–]|\(?\d{1,3}[.)])[ \t]+\S", re.MULTILINE)


def is_list(text: str) -> bool:
    """True if at least two lines start with a bullet or a number."""
    return len(list(islice(_ITEM.finditer(text), 2))) == 2


@dataclass(frozen=True, slots=True)
class Confound:
    """How far the risk ranking follows one trivial property of the samples.

    `rho` is Spearman's rank correlation with risk in [-1, 1] (positive: more of it ranks riskier) with its
    approximate 95 % interval `low`..`high`; all three are None where there is none. `top` and `all`
    summarise the riskiest tenth and the whole set: a median, or a share for yes/no properties.
    """

    name: str
    rho: float | None
    low: float | None
    high: float | None
    top: float
    all: float
    verdict: str

    @property
    def strength(self) -> int:
        """0 = none or unknown, 1 = weak, 2 = clear, 3 = strong."""
        return 0 if self.rho is None else _strength(self.rho)


def confounds(columns: Columns) -> list[Confound]:
    """Answer length, loss and list format against risk; empty without scored samples."""
    if not len(columns):
        return []
    answers = {
        "Answer length": (columns.n_answer_tokens, "longer answers", "answer length"),
        "Loss": (columns.loss, "answers the model finds less likely (high loss)", "loss"),
        "List format": (columns.is_list, "answers written as lists", "list format"),
    }
    return [
        _confound(name, columns.risk, np.asarray(values, dtype=np.float64), more, what)
        for name, (values, more, what) in answers.items()
    ]


def headline(found: list[Confound]) -> str:
    """One sentence on the strongest confound, for readers who read nothing else."""
    known = [c for c in found if c.rho is not None]
    if not known:
        return "Too few samples or too little variety to check whether the ranking is only length."
    worst = max(known, key=lambda c: abs(c.rho or 0.0))
    what = worst.name.lower()
    return (
        "The ranking does not follow answer length, loss or list format.",
        f"The ranking follows {what} only a little, and the other properties checked even less.",
        f"Part of the ranking is {what}: compare samples of similar {what} before you conclude anything.",
        f"Much of the ranking is {what}: compare samples of similar {what} before you suspect harm.",
    )[worst.strength]


def _confound(name: str, risk: Floats, values: Floats, more: str, what: str) -> Confound:
    summary = np.mean if name == "List format" else np.median
    tenth = np.argsort(-risk, kind="stable")[: max(1, len(risk) // 10)]
    rho, low, high = _spearman(risk, values)
    verdict = _verdict(rho, risk, values, more, what)
    return Confound(name, rho, low, high, float(summary(values[tenth])), float(summary(values)), verdict)


def _spearman(x: Floats, y: Floats) -> tuple[float, float, float] | tuple[None, None, None]:
    """Rank correlation and its 95 % interval; Nones if a side is constant or there are too few pairs."""
    if len(x) < MIN_SAMPLES or np.ptp(x) == 0 or np.ptp(y) == 0:
        return None, None, None
    rho = float(np.clip(cast("Any", spearmanr)(x, y).statistic, -1.0, 1.0))
    # Bonett and Wright (2000): Fisher's z of rho is about normal with this standard error.
    z = np.arctanh(np.clip(rho, -1 + 1e-12, 1 - 1e-12))
    half = 1.96 * sqrt((1 + rho * rho / 2) / (len(x) - 3))
    return rho, float(np.tanh(z - half)), float(np.tanh(z + half))


def _verdict(rho: float | None, risk: Floats, values: Floats, more: str, what: str) -> str:
    if len(risk) < MIN_SAMPLES:
        return f"Not checked: {len(risk)} scored samples are too few (at least {MIN_SAMPLES})."
    if rho is None:
        same = "risk" if np.ptp(risk) == 0 else what
        return f"Not checked: {same} is the same for every sample."
    direction = f"{more} rank {'riskier' if rho > 0 else 'safer'}"
    return (
        f"No visible link with {what}.",
        f"Weak link: {direction}, slightly.",
        f"Clear link: {direction}. Compare samples of similar {what}.",
        f"Strong link: {direction}. Much of this ranking is {what}.",
    )[_strength(rho)]


def _strength(rho: float) -> int:
    return sum(abs(rho) >= level for level in (WEAK, CLEAR, STRONG))
