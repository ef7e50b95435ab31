"""Numbers and samples in bulk line up with each other and with the queue."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from sqlalchemy import Engine

from curation.ledger import (
    ScoreColumns,
    add_samples,
    find_dataset,
    page,
    ranked_samples,
    reading,
    repeats,
    score_columns,
)
from curation.ledger import overview as overview_module
from tests.ledger.builders import new_dataset, new_scorer, sample, scored_dataset

RISKS = [0.5, -1.0, 2.0, 0.5, 0.0, 2.0, 7.0]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview_module, "_BLOCK", 3)
    monkeypatch.setattr(overview_module, "_BODIES", 2)


def test_columns_and_samples_are_in_the_order_of_the_queue(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger, RISKS)
    scored_dataset(ledger, [99.0])
    with reading(ledger) as conn:
        items = page(conn, dataset_id, scorer_id).items
        columns = score_columns(conn, dataset_id, scorer_id)
        ranked = list(ranked_samples(conn, dataset_id, scorer_id))
    for column in fields(ScoreColumns):
        values = getattr(columns, column.name)
        assert values.tolist() == [getattr(item, column.name) for item in items]
        assert values.dtype == (
            np.int64 if column.name in ("pk", "n_tokens", "n_answer_tokens") else np.float64
        )
    assert ranked == [(item.pk, item.sample, item.risk) for item in items]


def test_a_random_subset_is_the_same_for_columns_and_samples(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger, [float(i % 7) for i in range(60)])
    with reading(ledger) as conn:
        columns = score_columns(conn, dataset_id, scorer_id, limit=10)
        drawn = list(ranked_samples(conn, dataset_id, scorer_id, limit=10, subset="random"))
        riskiest = list(ranked_samples(conn, dataset_id, scorer_id, limit=10))
        everything = list(ranked_samples(conn, dataset_id, scorer_id))
        assert len(list(ranked_samples(conn, dataset_id, scorer_id, limit=100, subset="random"))) == 60
    assert columns.pk.tolist() == [pk for pk, _, _ in drawn]
    assert columns.risk.tolist() == [risk for _, _, risk in drawn]
    assert len(set(columns.pk.tolist())) == 10
    assert riskiest == everything[:10]
    assert drawn != riskiest
    assert [row for row in everything if row in drawn] == drawn


def test_nothing_scored_gives_empty_columns(ledger: Engine) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "ab"), new_scorer(ledger)
    with reading(ledger) as conn:
        for limit in (None, 5):
            assert score_columns(conn, dataset_id, scorer_id, limit).risk.shape == (0,)
        assert list(ranked_samples(conn, dataset_id, scorer_id)) == []


def test_repeats_are_the_samples_on_more_than_one_line(ledger: Engine) -> None:
    add_samples(ledger, "d", [sample(t, i) for i, t in enumerate("abcabaxbb", 1)])
    with reading(ledger) as conn:
        dataset = find_dataset(conn, "d")
        n, most = repeats(conn, dataset.id, limit=5)
        assert repeats(conn, dataset.id, limit=1) == (n, most[:1])
        queue = {item.pk: item.sample.answer[-1] for item in page(conn, dataset.id, new_scorer(ledger)).items}
    assert n == 2
    assert [(queue[pk], copies) for pk, copies in most] == [("b", 4), ("a", 3)]
