"""The queue narrowed: what is kept, in the same order, and nothing is lost where a page stops looking."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from curation.ledger import add_samples, find_dataset, narrowing, reading
from curation.ledger import queue as ledger_queue
from curation.ledger.decisions import NewDecision, decisions_on, record_decisions
from curation.ledger.items import NewItem, mark_gone, put_items
from curation.ledger.narrowing import Narrowing, Reviewed
from curation.ledger.queue import QueueItem, State, page
from curation.ledger.targets import add_target, find_target
from curation.review.fold import disagree, last_words, standing
from curation.samples.sample import Message, Sample
from tests.ledger.builders import new_scorer, pks_of, quarantine_sample, score_row, write_scores, writing

START = datetime(2026, 1, 1, tzinfo=UTC)


def filled(engine: Engine, texts: list[str]) -> tuple[int, int, list[int]]:
    """(dataset, scorer, pks): a tenth in quarantine, a fifth waiting, the others scored with many ties."""
    samples = [Sample((Message("user", text), Message("assistant", "fine"))) for text in texts]
    add_samples(engine, "d", samples)
    with reading(engine) as conn:
        dataset_id = find_dataset(conn, "d").id
    scorer_id, pks = new_scorer(engine), pks_of(engine, dataset_id)
    for pk in pks[::10]:
        quarantine_sample(engine, scorer_id, pk, "no")
    scored = [pk for n, pk in enumerate(pks) if n % 10 and n % 5 != 1]
    write_scores(engine, scorer_id, [score_row(pk, dataset_id, float(pk % 7)) for pk in scored])
    return dataset_id, scorer_id, pks


def walk(
    engine: Engine, dataset_id: int, scorer_id: int, limit: int = 7, **wanted: object
) -> list[QueueItem]:
    """All pages put together."""
    items: list[QueueItem] = []
    after = None
    with reading(engine) as conn:
        while True:
            found = page(conn, dataset_id, scorer_id, limit, after, **wanted)  # type: ignore[arg-type]
            items += found.items
            after = found.next_cursor
            if after is None:
                return items


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages that look through few samples, so that tests come to where they stop."""
    monkeypatch.setattr(narrowing, "WINDOW", 9)
    monkeypatch.setattr(narrowing, "TEXT_WINDOW", 4)
    monkeypatch.setattr(ledger_queue, "_WINDOW_BY_PK", 3)


@pytest.mark.usefixtures("narrow")
def test_it_keeps_what_folding_all_decisions_would_keep(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = filled(ledger, [f"text {n}" for n in range(80)])
    whole = walk(ledger, dataset_id, scorer_id, 100)
    rng = random.Random(3)
    made = [
        NewDecision(
            rng.choice(whole[:60]).content_hash,
            rng.choice(("approve", "reject", "withdraw")),
            rng.choice(("ana", "bo", "cy")),
            "tests",
            decided_at=START + timedelta(seconds=rng.randrange(4)),  # so that moments coincide
        )
        for _ in range(150)
    ]
    record_decisions(ledger, dataset_id, made)
    with reading(ledger) as conn:
        decided = decisions_on(conn, dataset_id, pks)
    words = {item.pk: last_words(decided.get(item.pk, ())) for item in whole}
    rejected = {pk for pk, said in words.items() if standing(said, "any-reject") == "rejected"}
    expected: dict[Reviewed, set[int]] = {
        "undecided": {pk for pk, said in words.items() if not said},
        "decided": {pk for pk, said in words.items() if said},
        "approved": {pk for pk, said in words.items() if said} - rejected,
        "rejected": rejected,
        "conflict": {pk for pk, said in words.items() if disagree(said)},
    }
    assert all(expected.values())
    for reviewed, pks_wanted in expected.items():
        found = walk(ledger, dataset_id, scorer_id, narrowing=Narrowing(reviewed=reviewed))
        assert found == [item for item in whole if item.pk in pks_wanted], reviewed


@pytest.mark.usefixtures("narrow")
def test_it_finds_text_in_any_turn_whatever_its_case_and_signs(ledger: Engine) -> None:
    texts = [
        "Grüße, Ömer",
        "GRÜSSE aus ÖMERLI",
        'say "quoted\\" 100%',
        "under_score",
        "underXscore",
        "messages",
        "日本語",
    ]
    dataset_id, scorer_id, _ = filled(ledger, texts + [f"row {n}" for n in range(40)])

    def found(text: str, **wanted: object) -> list[str]:
        items = walk(ledger, dataset_id, scorer_id, narrowing=Narrowing(text=text), **wanted)
        return sorted(item.sample.messages[0].content for item in items)

    assert found("ömer") == ["GRÜSSE aus ÖMERLI", "Grüße, Ömer"]
    assert found("GRÜSSE") == found("grüsse") == ["GRÜSSE aus ÖMERLI"]
    assert found('"quoted\\" 100%') == ['say "quoted\\" 100%']
    assert found("under_score") == ["under_score"]
    assert found("messages") == ["messages"], "and not the word in the JSON of every sample"
    assert found("日本") == ["日本語"]
    assert found("quoted say") == [], "in the order of its letters"
    assert len(found("fine")) == 47
    assert len(found("ROW ")) == 40


@pytest.mark.usefixtures("narrow")
def test_it_keeps_what_a_target_shows_now(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = filled(ledger, [f"text {n}" for n in range(60)])
    add_target(ledger, "t", "label-studio", dataset_id, "http://127.0.0.1:1", "1", {})
    with writing(ledger) as conn:
        target = find_target(conn)
        put_items(conn, target, [NewItem(f"{pk}", pk) for pk in pks[::4]])
        mark_gone(conn, target.id, [f"{pks[0]}"])
    found = walk(ledger, dataset_id, scorer_id, narrowing=Narrowing(target_id=target.id))
    assert {item.pk for item in found} == set(pks[4::4])


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("state", ["quarantined", "unscored", "scored"])
def test_it_keeps_one_state(ledger: Engine, state: State) -> None:
    dataset_id, scorer_id, _ = filled(ledger, [f"text {n}" for n in range(60)])
    whole = walk(ledger, dataset_id, scorer_id, 100)
    wanted = [item for item in whole if item.state == state]
    assert wanted
    assert walk(ledger, dataset_id, scorer_id, state=state) == wanted
    assert walk(ledger, dataset_id, scorer_id, state=state, narrowing=Narrowing(text="text")) == wanted


@pytest.mark.usefixtures("narrow")
def test_a_page_that_stops_looking_says_so_and_goes_on_from_there(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = filled(ledger, [f"text {n}" for n in range(60)])
    with reading(ledger) as conn:
        nothing = page(conn, dataset_id, scorer_id, narrowing=Narrowing(text="no such text"))
        assert nothing.items == ()
        assert nothing.next_cursor
        assert nothing.looked_through == 3
    assert walk(ledger, dataset_id, scorer_id, narrowing=Narrowing(text="no such text")) == []


@pytest.mark.usefixtures("narrow")
def test_percentiles_are_those_of_the_whole_dataset(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = filled(ledger, [f"text {n}" for n in range(60)])
    whole = {item.pk: item for item in walk(ledger, dataset_id, scorer_id, 100)}
    some = walk(ledger, dataset_id, scorer_id, tiers=["medium", "low"], narrowing=Narrowing(text="1"))
    assert some
    assert all(whole[item.pk] == item for item in some)
