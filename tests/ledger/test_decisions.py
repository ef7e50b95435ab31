"""Decisions are added and never changed, belong to a text, and are one however often they are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import Engine, select

from curation.errors import InputError, LedgerError
from curation.ledger import add_samples, find_dataset, reading, writing
from curation.ledger.decisions import (
    NewDecision,
    decided_samples,
    decisions_on,
    find_text,
    record_decisions,
)
from curation.ledger.tables import decisions, samples
from tests.ledger.builders import new_dataset, pks_of, sample

NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


def hash_of(text: str) -> str:
    return sample(text).id


def made(text: str, verdict: str = "approve", by: str = "ada", **more: object) -> NewDecision:
    values: dict[str, object] = {"source": "file", "decided_at": NOON} | more
    return NewDecision(hash_of(text), verdict, by, **values)  # type: ignore[arg-type]


def test_the_same_decision_read_twice_is_one_and_none_hides_another(ledger: Engine) -> None:
    dataset_id = new_dataset(ledger, "ab")
    batch = [made("a"), made("a", by="bob"), made("a", "reject"), made("b", remote_id="7")]
    assert record_decisions(ledger, dataset_id, batch) == 4
    assert record_decisions(ledger, dataset_id, batch) == 0
    later = made("a", decided_at=NOON + timedelta(microseconds=1))
    assert record_decisions(ledger, dataset_id, [batch[0], later, made("b", remote_id="8")]) == 2
    with reading(ledger) as conn:
        assert [len(found) for _, found in decided_samples(conn, dataset_id)] == [4, 2]


def test_a_decision_is_read_back_as_it_was_made(ledger: Engine) -> None:
    dataset_id = new_dataset(ledger, "a")
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    one = made(
        "a", "reject", "Ada L.", reason="pii\x00", note="see \ud800 x", remote_id="9", decided_at=elsewhere
    )
    record_decisions(ledger, dataset_id, [one])
    (pk,) = pks_of(ledger, dataset_id)
    with reading(ledger) as conn:
        (found,) = decisions_on(conn, dataset_id, [pk])[pk]
    assert found[:8] == (pk, hash_of("a"), "reject", "Ada L.", "pii\ufffd", "see ? x", "file", "9")
    assert found.decided_at == NOON
    assert found.recorded_at.tzinfo is UTC


def test_without_a_time_it_was_decided_now_by_the_databases_clock(ledger: Engine) -> None:
    dataset_id = new_dataset(ledger, "a")
    record_decisions(ledger, dataset_id, [made("a", decided_at=None)])
    with reading(ledger) as conn:
        ((_, (found,)),) = decided_samples(conn, dataset_id)
    assert abs(found.recorded_at - found.decided_at) < timedelta(minutes=1)
    assert found.decided_at > NOON


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (made("nowhere"), "does not have"),
        (made("a", "maybe"), "no verdict"),
        (made("a", by="  "), "reviewer's name"),
        (made("a", by="ada\n"), "reviewer's name"),
        (made("a", decided_at=datetime.now(UTC) + timedelta(days=2)), "still to come"),
    ],
)
def test_one_bad_decision_keeps_them_all_out(ledger: Engine, bad: NewDecision, words: str) -> None:
    dataset_id = new_dataset(ledger, "ab")
    with pytest.raises((InputError, LedgerError), match=words):
        record_decisions(ledger, dataset_id, [made("a"), bad])
    with reading(ledger) as conn:
        assert list(decided_samples(conn, dataset_id)) == []


def test_a_decision_holds_in_its_dataset_and_for_its_text_only(ledger: Engine) -> None:
    first, second = new_dataset(ledger, "a"), new_dataset(ledger, "a")
    record_decisions(ledger, first, [made("a")])
    with reading(ledger) as conn:
        assert list(decided_samples(conn, second)) == []
    # nothing in curation does this: the row of a sample is never rewritten
    with writing(ledger) as conn:
        conn.execute(samples.update().where(samples.c.dataset_id == first).values(content_hash="0" * 64))
    with reading(ledger) as conn:
        assert list(decided_samples(conn, first)) == []
        assert conn.execute(select(decisions.c.content_hash)).scalar_one() == hash_of("a")


def test_an_edited_line_inherits_no_decision(ledger: Engine) -> None:
    add_samples(ledger, "d", [sample("a", 1)])
    with reading(ledger) as conn:
        dataset_id = find_dataset(conn, "d").id
    record_decisions(ledger, dataset_id, [made("a")])
    add_samples(ledger, "d", [sample("a, edited", 1)])
    old, new = pks_of(ledger, dataset_id)
    with reading(ledger) as conn:
        assert decisions_on(conn, dataset_id, [old, new]).keys() == {old}


def test_an_id_names_one_text_of_the_dataset(ledger: Engine) -> None:
    dataset_id, other = new_dataset(ledger, "ab"), new_dataset(ledger, "b")
    with reading(ledger) as conn:
        assert find_text(conn, dataset_id, hash_of("a")[:8]) == hash_of("a")
        with pytest.raises(LedgerError, match="no sample's id"):
            find_text(conn, other, hash_of("a"))
        with pytest.raises(InputError, match="not an id"):
            find_text(conn, other, "abc")


def test_thousands_come_in_one_go_and_out_in_order(ledger: Engine) -> None:
    dataset_id = new_dataset(ledger, map(str, range(2500)))
    batch = [made(str(n), by=by) for n in range(2500) for by in ("ada", "bob")]
    assert record_decisions(ledger, dataset_id, batch[::-1]) == 5000
    with reading(ledger) as conn:
        found = list(decided_samples(conn, dataset_id))
    assert [pk for pk, _ in found] == pks_of(ledger, dataset_id)
    assert {len(group) for _, group in found} == {2}
