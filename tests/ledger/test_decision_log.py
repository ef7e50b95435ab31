"""Decisions a page at a time: each once, the latest first, and found by an index."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, event

from curation.errors import InputError
from curation.ledger import reading
from curation.ledger.decision_log import Logged, contested, latest_decisions, reviewers
from curation.ledger.decisions import NewDecision, Verdict, record_decisions
from tests.ledger.builders import new_dataset, pks_of, sample

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def decide(engine: Engine, dataset_id: int, text: str, by: str, verdict: Verdict, minute: int = 0) -> None:
    made = NewDecision(sample(text).id, verdict, by, "test", decided_at=NOON + timedelta(minutes=minute))
    record_decisions(engine, dataset_id, [made])


def walk(engine: Engine, limit: int, **filters: Any) -> Iterator[Logged]:
    after = None
    while True:
        with reading(engine) as conn:
            page = latest_decisions(conn, limit, after, **filters)
        assert len(page.items) <= limit
        yield from page.items
        if page.next_cursor is None:
            return
        after = page.next_cursor


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
def test_every_decision_comes_once_the_latest_first(ledger: Engine, limit: int) -> None:
    first, second = new_dataset(ledger, "ab"), new_dataset(ledger, "c")
    decide(ledger, first, "a", "ada", "approve", 5)
    decide(ledger, second, "c", "bob", "reject", 9)  # known earlier than others, and made later
    decide(ledger, first, "b", "bob", "approve", 5)
    decide(ledger, first, "a", "cyd", "reject", 5)
    decide(ledger, first, "a", "ada", "withdraw", 7)
    found = [(one.decision.reviewer, one.decision.verdict) for one in walk(ledger, limit)]
    assert found == [
        ("bob", "reject"), ("ada", "withdraw"), ("cyd", "reject"), ("bob", "approve"), ("ada", "approve"),
    ]  # fmt: skip


def test_filters_add_up(ledger: Engine) -> None:
    first, second = new_dataset(ledger, "ab"), new_dataset(ledger, "c")
    decide(ledger, first, "a", "ada", "approve")
    decide(ledger, first, "b", "bob", "reject", 1)
    decide(ledger, second, "c", "ada", "reject", 2)
    texts = {sample(text).id: text for text in "abc"}

    def found(**filters: Any) -> str:
        return "".join(texts[one.decision.content_hash] for one in walk(ledger, 1, **filters))

    assert found(reviewer="ada") == "ca"
    assert found(verdict="reject") == "cb"
    assert found(dataset_id=first) == "ba"
    assert found(dataset_id=first, verdict="reject") == "b"
    assert found(reviewer="ada", verdict="reject", dataset_id=first) == ""
    with reading(ledger) as conn:
        assert reviewers(conn) == {"ada": 2, "bob": 1}


@pytest.mark.parametrize("cursor", ["x", "-1", "1", "1-", "9" * 40 + "-1", "1--5", f"1-{2**63}", "\u0661-x"])
def test_a_cursor_of_ones_own_making_is_refused(sqlite: Engine, cursor: str) -> None:
    with reading(sqlite) as conn, pytest.raises(InputError, match="cursor"):
        latest_decisions(conn, after=cursor)


def test_in_dispute_may_be_what_two_reviewers_said_differently(ledger: Engine) -> None:
    dataset_id = new_dataset(ledger, "abcdef")
    a, _, _, _, _, f = pks_of(ledger, dataset_id)
    for text, said in {
        "a": "ada:approve bob:reject",
        "b": "ada:approve ada:reject",  # changed her mind
        "c": "ada:approve bob:approve",
        "d": "ada:reject bob:withdraw",
        "f": "ada:approve bob:reject bob:approve",  # a candidate, though they agree now
    }.items():
        for minute, one in enumerate(said.split()):
            by, verdict = one.split(":")
            decide(ledger, dataset_id, text, by, verdict, minute)  # type: ignore[arg-type]
    with reading(ledger) as conn:
        assert contested(conn, dataset_id, 0, 10) == [a, f]
        assert contested(conn, dataset_id, 0, 1) == [a]
        assert contested(conn, dataset_id, a, 10) == [f]
        assert contested(conn, dataset_id + 1, 0, 10) == []


def test_a_page_is_read_off_an_index_and_nothing_is_sorted(sqlite: Engine) -> None:
    asked: list[tuple[str, Any]] = []
    with reading(sqlite) as conn:
        event.listen(
            conn.engine,
            "before_cursor_execute",
            lambda c, cursor, statement, values, *_: asked.append((statement, values)),
        )
        latest_decisions(conn, after="1000000-5", reviewer="ada")
        contested(conn, 1, 0, 10)
        queries = [(statement, values) for statement, values in asked if "decisions" in statement]
        for statement, values in queries:
            plan = conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
            assert "TEMP B-TREE FOR ORDER BY" not in str(plan)
            assert "SEARCH decisions USING" in str(plan)
    assert len(queries) == 2
