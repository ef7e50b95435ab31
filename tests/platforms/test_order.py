"""Every platform serves the riskiest first, whatever happens in between."""

from __future__ import annotations

import random

import pytest

from curation.ledger.engine import reading
from curation.ledger.targets import hold
from tests.platforms.rig import Ledger, Rig

pytestmark = pytest.mark.slow


def risks(n: int, seed: int, first: int = 0) -> dict[str, float]:
    """Risks of both signs and many magnitudes, all different."""
    draw = random.Random(seed)
    some = [9.5, 10.2, -0.3, 1e-5, 100.0, 2.0, 0.25, 1.5e-7, 12.0, 0.1]
    values = some[:n] + [draw.uniform(-5, 5) for _ in range(n - len(some))]
    return {f"question {i}": value for i, value in enumerate(values, start=first)}


def by_risk(given: dict[str, float]) -> list[str]:
    return sorted(given, key=given.__getitem__, reverse=True)


def test_the_riskiest_come_first_for_two_annotators(rig: Rig, book: Ledger) -> None:
    given = risks(50, seed=1)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    done = book.sync(rig)
    assert (done.created, done.items, done.reordered) == (50, 50, True)
    assert rig.listed() == by_risk(given)
    turns = [rig.served(i % 2, 1)[0] for i in range(12)]
    assert turns == by_risk(given)[:12]


def test_doing_it_twice_changes_nothing(rig: Rig, book: Ledger) -> None:
    given = risks(12, seed=2)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    book.sync(rig)
    before = {question: rig.shown(rig.find(question)) for question in given}
    again = book.sync(rig)
    assert (again.created, again.reordered, again.columns, again.pulled.decisions) == (0, False, 0, 0)
    assert {question: rig.shown(rig.find(question)) for question in given} == before
    assert rig.listed() == by_risk(given)


def test_columns_say_what_the_ledger_says(rig: Rig, book: Ledger) -> None:
    given = risks(10, seed=3)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    book.sync(rig)
    assert rig.shown(rig.find("question 4")) == {
        "tier": "critical", "percentile": 100, "risk": 100.0, "danger": 101.0, "safety": 1.0, "scorer": "0" * 12,
    }  # fmt: skip
    least = rig.shown(rig.find("question 2"))
    assert (least["tier"], least["percentile"], least["risk"]) == ("low", 0, -0.3)


def test_a_new_scorer_takes_over_at_once_when_it_is_done(rig: Rig, book: Ledger) -> None:
    first, second = risks(20, seed=4), risks(20, seed=5)
    second = dict(zip(second, reversed(second.values()), strict=True))
    book.ingest(list(first))
    book.score(first, "a")
    rig.connect(book.engine)
    book.sync(rig)
    rig.answer(rig.find("question 0"), "reject", reason="Unsafe")
    half = dict(list(second.items())[:10])
    book.score(half, "b")
    assert not book.sync(rig).reordered
    assert rig.listed() == by_risk(first)
    book.score(dict(list(second.items())[10:]), "b")
    done = book.sync(rig)
    assert done.reordered
    assert done.created == 0
    assert rig.listed() == by_risk(second)
    top = by_risk(second)[0]
    assert rig.shown(rig.find(top))["risk"] == float(f"{second[top]:.3g}")
    assert rig.served(0, 5) == [q for q in by_risk(second) if q != "question 0"][:5]


def test_what_nobody_knows_comes_before_what_is_scored(rig: Rig, book: Ledger) -> None:
    given = risks(12, seed=6)
    book.ingest(list(given))
    book.score({q: r for q, r in given.items() if q not in ("question 3", "question 7")})
    book.quarantine("question 7")
    rig.connect(book.engine)
    book.sync(rig)
    scored = [q for q in by_risk(given) if q not in ("question 3", "question 7")]
    assert rig.listed() == ["question 7", "question 3", *scored]
    assert rig.shown(rig.find("question 7"))["tier"] == "quarantined"
    assert rig.shown(rig.find("question 3"))["tier"] == "unscored"


def test_arrivals_find_their_place(rig: Rig, book: Ledger) -> None:
    given = risks(15, seed=7)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    book.sync(rig)
    reviewed = rig.served(0, 3)
    later = {"late and risky": 1000.0, "late and average": 1.0, "late and harmless": -1000.0}
    book.ingest(list(later))
    book.sync(rig)
    assert set(rig.listed()[:3]) == set(later)  # not scored yet
    book.score(later)
    book.sync(rig)
    order = by_risk(given | later)
    assert rig.listed() == order
    assert rig.shown(rig.find("late and average"))["risk"] == 1.0
    left = [q for q in order if q not in reviewed]
    assert rig.served(1, 4) == left[:4]


def test_what_is_skipped_comes_back_and_the_order_stays(rig: Rig, book: Ledger) -> None:
    given = risks(10, seed=8)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    book.sync(rig)
    first, *rest = by_risk(given)
    rig.skip(rig.find(first))
    done = book.sync(rig)
    assert done.pulled.decisions == 0
    assert rig.listed() == by_risk(given)
    assert rig.served(1, 2) == [first, rest[0]]


def test_only_the_head_is_shown_and_the_rest_follows_in_waves(rig: Rig, book: Ledger) -> None:
    given = risks(30, seed=9)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine, head=10)
    assert book.sync(rig).created == 10
    order = by_risk(given)
    assert rig.listed() == order[:10]
    rig.served(0, 4)
    done = book.sync(rig)
    assert (done.pulled.decisions, done.created) == (4, 4)
    assert rig.listed() == order[:14]
    book.ingest(["newcomer"])
    book.score({"newcomer": 1e6})
    assert book.sync(rig).created == 1
    assert rig.listed()[0] == "newcomer"


def test_two_that_push_at_once_take_turns(rig: Rig, book: Ledger) -> None:
    given = risks(5, seed=10)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    target = book.target()
    from curation.ledger.targets import TargetBusy

    with hold(book.engine, target.id, 60):
        with pytest.raises(TargetBusy):
            book.sync(rig)
        with reading(book.engine):
            assert book.target().held
    assert book.sync(rig).created == 5
    assert rig.listed() == by_risk(given)
