"""What a report is made of comes out of the ledger whole: counts, order, copies, quarantine and token heat."""

from __future__ import annotations

import numpy as np
import pytest
from sqlalchemy import Engine

from curation.ledger.engine import reading
from curation.ledger.samples import add_samples, find_dataset
from curation.ledger.scores import find_scorer
from curation.reconcile.score import score_dataset
from curation.report.collect import Wanted, collect
from curation.report.render import render
from curation.samples.sample import Sample, Source
from tests.reconcile.test_score import make_samples, make_scorer

HOPELESS = Sample.from_messages([{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}])


def with_source(samples: list[Sample]) -> list[Sample]:
    return [
        Sample(s.messages, s.train, source=Source("rows.jsonl", line))
        for line, s in enumerate(samples, start=1)
    ]


def test_a_report_holds_every_sample_once_riskiest_first_with_heat_that_sums_to_its_risk(
    ledger: Engine,
) -> None:
    rows = make_samples(8)
    add_samples(ledger, "d", with_source([*rows, rows[3], rows[3], HOPELESS]))
    scorer = make_scorer()
    template = "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    scorer.loaded.tokenizer.chat_template = template + str(scorer.loaded.tokenizer.chat_template)
    with reading(ledger) as conn:
        dataset = find_dataset(conn, "d")
    score_dataset(ledger, scorer, dataset.id)
    with reading(ledger) as conn:
        stored = find_scorer(conn)
        data = collect(conn, dataset, stored, Wanted(top=5, heated=2), scorer)
    assert (data.provenance.samples, data.n_scored, data.n_quarantined) == (9, 8, 1)
    assert [row.rank for row in data.rows] == [1, 2, 3, 4, 5]
    assert [row.risk for row in data.rows] == sorted(data.columns.risk, reverse=True)[:5]
    assert [bool(row.heat) for row in data.rows] == [True, True, False, False, False]
    for row in data.rows[:2]:
        assert sum(token.risk for token in row.heat) == pytest.approx(row.risk, rel=1e-3, abs=1e-4)
        assert "".join(token.text for token in row.heat).startswith("<|im_start|>user")
    assert (data.duplicates.extra, data.duplicates.groups) == (2, 1)
    assert data.duplicates.most_repeated[0].copies == 3
    assert data.quarantined[0].reason.endswith("no tools here)")
    assert data.quarantined[0].source == "rows.jsonl:11"
    assert np.isfinite(data.columns.loss).all()
    assert "no tools here" in render(data)


def test_a_report_of_a_half_scored_dataset_says_what_is_missing(ledger: Engine) -> None:
    rows = make_samples(6)
    add_samples(ledger, "d", rows[:4])
    with reading(ledger) as conn:
        dataset = find_dataset(conn, "d")
    score_dataset(ledger, make_scorer(), dataset.id)
    add_samples(ledger, "d", rows)
    with reading(ledger) as conn:
        data = collect(conn, dataset, find_scorer(conn), Wanted())
    assert data.n_unscored == 2
    assert any("2 samples have no score yet" in warning for warning in data.warnings)
