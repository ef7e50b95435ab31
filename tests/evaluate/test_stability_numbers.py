"""The numbers of the stability benchmark against plain ones, and its conditions on made-up terms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

from benchmarks.stability import Condition, compare, spearman, top_overlap


def rho(a: Any, b: Any) -> float:
    found: Any = spearmanr(a, b)
    return found[0]


def test_rank_correlation_and_overlap_are_what_their_names_say() -> None:
    draw = np.random.default_rng(0)
    own, others = draw.normal(size=40), draw.normal(size=(3, 40)).round(1)  # with ties
    assert spearman(own, others) == pytest.approx([rho(own, row) for row in others])
    assert top_overlap(own, np.stack([own, -own])).tolist() == [1.0, 0.0]


def test_every_fit_of_one_direction_goes_with_every_fit_of_the_other() -> None:
    draw = np.random.default_rng(1)
    own = {term: draw.normal(size=60) for term in ("danger", "safety")}
    terms = {
        term: {"own": values, **{f"draw {k}": values + 0.3 * draw.normal(size=60) for k in range(3)}}
        for term, values in own.items()
    }
    names = ["draw 0", "draw 1", "draw 2"]
    both = compare(terms, Condition("anchors", names, names))
    one = compare(terms, Condition("danger anchors", names, ["own"]))
    risk = own["danger"] - own["safety"]
    pairs = [terms["danger"][a] - terms["safety"][b] for a in names for b in names]
    assert (both["pairs"], one["pairs"], both["rows"]) == (9, 3, 60)
    assert both["spearman"]["mean"] == pytest.approx(np.mean([rho(risk, p) for p in pairs]), abs=1e-4)
    assert both["spearman"]["low"] < both["spearman"]["mean"] < both["spearman"]["high"]
    assert one["spearman"]["mean"] > both["spearman"]["mean"]
