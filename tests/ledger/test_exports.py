"""What the gate reads is in order and complete, and costs no more than an index asks for."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event

from curation.ledger import add_samples, reading
from curation.ledger import exports as exports_module
from curation.ledger.decisions import decisions_on, risks_of_decided
from curation.ledger.exports import (
    NewExport,
    exports_of,
    line_totals,
    lines,
    moment,
    record_export,
    risks_on_lines,
)
from curation.ledger.history import history
from tests.ledger.builders import (
    new_dataset,
    new_scorer,
    pks_of,
    quarantine_sample,
    sample,
    score_row,
    scored_dataset,
    write_scores,
)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports_module, "BLOCK", 2)
    monkeypatch.setattr(exports_module, "_NUMBERS", 2)


def test_lines_come_by_file_and_line_with_what_the_scorer_said(ledger: Engine) -> None:
    dataset_id, scorer_id, other = new_dataset(ledger, []), new_scorer(ledger), new_scorer(ledger)
    name = f"lines {dataset_id}"
    add_samples(
        ledger,
        name,
        [
            sample("a", 10, "b"),
            sample("b", 9, "b"),
            sample("c", 1, "a"),
            sample("d", 2, "a"),
            sample("a", 3, "a"),
        ],
    )
    dataset_id += 1
    a, b, c, _ = pks_of(ledger, dataset_id)
    write_scores(ledger, scorer_id, [score_row(a, dataset_id, 1.5)])
    write_scores(ledger, other, [score_row(pk, dataset_id, 9.0) for pk in (a, b)])
    quarantine_sample(ledger, scorer_id, c, "too long")
    with reading(ledger) as conn:
        found = [line for block in lines(conn, dataset_id, scorer_id) for line in block]
        totals = line_totals(conn, dataset_id, scorer_id)
    assert [(one.file, one.line, one.risk, bool(one.stale), one.quarantined) for one in found] == [
        ("a", 1, None, False, "too long"),
        ("a", 2, None, False, None),
        ("a", 3, 1.5, False, None),
        ("b", 9, None, True, None),
        ("b", 10, 1.5, False, None),
    ]
    assert totals == exports_module.Totals(lines=5, off_lines=0, untouched=2)


def test_risks_are_those_of_samples_on_a_line_from_the_highest_down(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger, [0.5, 3.0, -1.0, 3.0, 2.0])
    with reading(ledger) as conn:
        assert risks_on_lines(conn, dataset_id, scorer_id).tolist() == [3.0, 3.0, 2.0, 0.5, -1.0]
        assert risks_on_lines(conn, dataset_id, new_scorer(ledger)).shape == (0,)


def test_an_export_remembers_its_very_samples_whatever_lies_between(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = scored_dataset(ledger, [float(i) for i in range(9)])
    inside = [pks[i] for i in (8, 0, 1, 2, 5, 7, 7)]
    with reading(ledger) as conn:
        now = moment(conn)
    made = NewExport(
        dataset_id, scorer_id, "0" * 64, "{}", "jsonl", {"lines": 9}, "1" * 64, "{}", "me", now, inside
    )
    first, second = record_export(ledger, made), record_export(ledger, made)
    with reading(ledger) as conn:
        for pk in pks:
            found = [export.id for export in exports_of(conn, dataset_id, pk)]
            assert found == ([first, second] if pk in inside else [])
        assert exports_of(conn, dataset_id, pks[0])[0].counts == {"lines": 9}


@pytest.mark.parametrize("ledger_url", ["sqlite"], indirect=True)
def test_no_table_of_samples_is_gone_through_for_a_block_or_a_sample(ledger: Engine) -> None:
    """SQLite says how it would answer: it must search an index wherever a table grows with the dataset."""
    dataset_id, scorer_id, pks = scored_dataset(ledger, [1.0, 2.0])
    plans: list[str] = []

    def explain(conn: Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            steps = conn.connection.cursor().execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.extend(step[3] for step in steps)

    event.listen(ledger, "before_cursor_execute", explain)
    with reading(ledger) as conn:
        list(lines(conn, dataset_id, scorer_id))
        decisions_on(conn, dataset_id, pks)
        history(conn, pks[0])
        risks_on_lines(conn, dataset_id, scorer_id)
        risks_of_decided(conn, dataset_id, scorer_id)
    assert any("SEARCH" in plan for plan in plans)
    # scorers, policies and exports are few
    grow = ("samples", "occurrences", "scores", "quarantine", "decisions", "exported")
    assert [plan for plan in plans if plan.startswith("SCAN") and plan.split()[1].rstrip("_1") in grow] == []
    assert "USE TEMP B-TREE FOR ORDER BY" not in plans[:8]
