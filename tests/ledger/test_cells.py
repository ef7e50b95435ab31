"""Cells of risk: every finite number is in one, in order, and what they count is what there is."""

from __future__ import annotations

import math
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from curation.ledger.cells import bounds, cell_of
from curation.ledger.tables import scores, tallies
from tests.ledger.builders import score_row, scored_dataset, write_scores

EDGES = [0.0, -0.0, 5e-324, sys.float_info.min, math.nextafter(sys.float_info.min, 0), 1.0, 0.999, 9.99e307]
risks = st.floats(min_value=-1e308, max_value=1e308, allow_nan=False, exclude_min=True, exclude_max=True)
risks |= st.sampled_from([*EDGES, *(-risk for risk in EDGES)])


@given(risks)
def test_a_cell_holds_what_is_put_in_it(risk: float) -> None:
    low, high = bounds(cell_of(risk))
    assert low <= risk <= high
    assert cell_of(low) == cell_of(high) == cell_of(risk)


@given(risks)
def test_beside_a_cell_the_next_one_begins(risk: float) -> None:
    low, high = bounds(cell_of(risk))
    assert cell_of(math.nextafter(low, -math.inf)) < cell_of(risk) < cell_of(math.nextafter(high, math.inf))


@given(risks, risks)
def test_higher_risks_are_never_in_lower_cells(a: float, b: float) -> None:
    assert cell_of(min(a, b)) <= cell_of(max(a, b))


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_no_cell_of_a_spread_out_dataset_holds_much(scale: float) -> None:
    inside = Counter(cell_of(scale * math.exp(math.sin(i) * 3)) for i in range(10_000))
    assert max(inside.values()) < 600


def test_a_score_is_counted_once_however_often_it_is_written(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = scored_dataset(ledger, [-1.0, 0.0, 2.0, 2.0, 2.01, 1e-320])
    write_scores(ledger, scorer_id, [score_row(pk, dataset_id, 7.0) for pk in pks])
    with ledger.connect() as conn:
        kept = conn.execute(select(scores.c.risk).where(scores.c.scorer_id == scorer_id)).scalars().all()
        here = tallies.c.scorer_id == scorer_id, tallies.c.dataset_id == dataset_id
        counted = {row.cell: row.n for row in conn.execute(select(tallies).where(*here))}
    assert counted == Counter(map(cell_of, kept))
    assert sum(counted.values()) == len(pks)
