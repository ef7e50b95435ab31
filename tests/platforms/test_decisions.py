"""Everything that reviewers decide on a platform is in the ledger exactly once, and nothing else is."""

from __future__ import annotations

from collections import Counter

import pytest

from curation.ledger.decisions import Decision, decisions_on
from curation.ledger.engine import reading
from curation.ledger.history import history
from curation.ledger.samples import find_sample, list_occurrences
from curation.review.fold import last_words, standing
from tests.platforms.rig import Ledger, Rig, pair

pytestmark = pytest.mark.slow

N = 14


@pytest.fixture
def shown(rig: Rig, book: Ledger) -> Ledger:
    """Fourteen samples on the platform; the higher their number, the riskier."""
    given = {f"q{i}": float(i) for i in range(N)}
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    book.sync(rig)
    return book


def of(book: Ledger, question: str) -> list[Decision]:
    pk = book.pk(question)
    with reading(book.engine) as conn:
        return decisions_on(conn, book.dataset_id, [pk]).get(pk, [])


def stands(book: Ledger, question: str) -> str:
    return standing(last_words(of(book, question)), "any-reject")


def test_ten_of_each_kind_come_back_exactly_once(rig: Rig, shown: Ledger) -> None:
    for i in range(10):
        rig.answer(rig.find(f"q{i}"), "approve" if i % 2 else "reject", reason=None if i % 2 else "Unsafe")
    assert shown.sync(rig).pulled.decisions == 10
    assert shown.sync(rig).pulled.decisions == 0
    made = [decision for i in range(10) for decision in of(shown, f"q{i}")]
    assert Counter(d.verdict for d in made) == {"approve": 5, "reject": 5}
    assert {d.reviewer for d in made} == {rig.reviewer(0)}
    assert {d.reason for d in made if d.verdict == "reject"} == {"Unsafe"}


def test_a_changed_answer_replaces_the_first(rig: Rig, shown: Ledger) -> None:
    given = rig.answer(rig.find("q3"), "approve")
    shown.sync(rig)
    assert stands(shown, "q3") == "approved"
    rig.change(given, "reject")
    assert shown.sync(rig).pulled.decisions == 1
    assert stands(shown, "q3") == "rejected"
    assert [d.verdict for d in sorted(of(shown, "q3"), key=lambda d: d.decided_at)] == ["approve", "reject"]


def test_a_deleted_answer_is_taken_back(rig: Rig, shown: Ledger) -> None:
    given = rig.answer(rig.find("q4"), "approve")
    shown.sync(rig)
    rig.delete(given)
    assert shown.sync(rig).pulled.decisions == 1
    assert shown.sync(rig).pulled.decisions == 0
    assert stands(shown, "q4") == "undecided"
    rig.answer(rig.find("q4"), "reject", reason="Other")
    shown.sync(rig)
    assert stands(shown, "q4") == "rejected"


def test_a_skipped_item_is_not_decided(rig: Rig, shown: Ledger) -> None:
    rig.skip(rig.find("q5"))
    assert shown.sync(rig).pulled.decisions == 0
    assert of(shown, "q5") == []


def test_annotators_who_disagree_are_both_heard(rig: Rig, shown: Ledger) -> None:
    item = rig.find("q6")
    rig.answer(item, "approve", annotator=0)
    rig.answer(item, "reject", annotator=1, reason="Incorrect")
    assert shown.sync(rig).pulled.decisions == 2
    words = last_words(of(shown, "q6"))
    assert {d.reviewer for d in words} == {rig.reviewer(0), rig.reviewer(1)}
    rules = {rule: standing(words, rule) for rule in ("any-reject", "unanimous", "majority")}  # type: ignore[arg-type]
    assert rules == {"any-reject": "rejected", "unanimous": "undecided", "majority": "undecided"}


def test_a_text_changed_there_is_a_new_sample_without_decisions(rig: Rig, shown: Ledger) -> None:
    item = rig.find("q7")
    rig.answer(item, "approve")
    shown.sync(rig)
    old = shown.pk("q7")
    rig.edit(item, "a better answer")
    done = shown.sync(rig)
    assert (done.pulled.edited, done.created) == (1, 0)
    new = shown.pk("q7")
    assert new != old
    assert stands(shown, "q7") == "undecided"
    with reading(shown.engine) as conn:
        assert list_occurrences(conn, old) == []
        assert [(o.file, o.line) for o in list_occurrences(conn, new)] == [("train.jsonl", 8)]
        assert find_sample(conn, pair("q7", "a better answer", 1).id).pk == new
        assert [d.verdict for d in decisions_on(conn, shown.dataset_id, [old])[old]] == ["approve"]
    assert rig.listed()[0] == "q7"  # it has no score yet
    assert done.pulled.outdated == 1
    assert shown.sync(rig).pulled.edited == 0


def test_an_answer_after_the_change_counts(rig: Rig, shown: Ledger) -> None:
    item = rig.find("q8")
    rig.edit(item, "another answer")
    shown.sync(rig)
    rig.answer(item, "approve")
    shown.sync(rig)
    assert stands(shown, "q8") == "approved"


def test_items_that_were_there_become_samples(rig: Rig, shown: Ledger) -> None:
    (item,) = rig.add([pair("found", "there", 1)])
    rig.answer(item, "reject", reason="Format")
    done = shown.sync(rig)
    assert (done.pulled.new_items, done.pulled.decisions, done.created) == (1, 1, 0)
    assert stands(shown, "found") == "rejected"
    with reading(shown.engine) as conn:
        (line,) = list_occurrences(conn, shown.pk("found"))
    assert line.file.endswith(f"/{item}")
    assert shown.sync(rig).pulled.new_items == 0
    rig.edit(item, "there, and better")
    shown.sync(rig)
    assert stands(shown, "found") == "undecided"
    with reading(shown.engine) as conn:
        assert list_occurrences(conn, shown.pk("found")) == [line]


def test_a_removed_item_changes_nothing_else(rig: Rig, shown: Ledger) -> None:
    rig.answer(rig.find("q9"), "approve")
    shown.sync(rig)
    rig.remove(rig.find("q9"))
    shown.score({f"q{i}": float(-i) for i in range(N)}, "b")
    shown.sync(rig)
    assert stands(shown, "q9") == "approved"
    assert rig.listed() == [f"q{i}" for i in range(N) if i != 9]


def test_the_history_of_a_sample_tells_where_it_was_shown(rig: Rig, shown: Ledger) -> None:
    item = rig.find("q2")
    rig.answer(item, "approve")
    shown.sync(rig)
    with reading(shown.engine) as conn:
        events = history(conn, shown.pk("q2"))
    assert [event.kind for event in events] == ["seen", "scored", "shown", "decided"]
    assert events[2].facts["item"] == item
