"""Announcing: every risky sample once, at least once, in the order of a ledger that may be killed at any point."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from curation.ledger import add_samples, reading, writing
from curation.ledger import hooks as api
from curation.ledger.tables import announced, hooks, messages
from curation.reconcile import announce as module
from curation.reconcile.announce import announce, announce_all
from curation.settings import Settings, get_settings
from tests.ledger.builders import new_dataset, new_scorer, quarantine_sample, sample, score_row, write_scores
from tests.receiver import Receiver, receiver


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return get_settings(home=tmp_path, hooks_private=True)


@pytest.fixture
def kept() -> Iterator[Receiver]:
    with receiver() as started:
        yield started


def scored_dataset(engine: Engine, n: int = 100, scorer_id: int | None = None) -> tuple[int, int, list[int]]:
    """A dataset, its scorer, and its samples by number; the risk of each is its place."""
    scorer_id = scorer_id or new_scorer(engine)
    dataset_id = new_dataset(engine, (f"text {i}" for i in range(n)))
    pks = sample_pks(engine, dataset_id)
    write_scores(engine, scorer_id, [score_row(pk, dataset_id, float(i)) for i, pk in enumerate(pks)])
    return dataset_id, scorer_id, pks


def sample_pks(engine: Engine, dataset_id: int) -> list[int]:
    from curation.ledger.tables import samples

    with reading(engine) as conn:
        query = sa.select(samples.c.id).where(samples.c.dataset_id == dataset_id).order_by(samples.c.id)
        return list(conn.execute(query).scalars())


def names(message: dict) -> list[str]:  # type: ignore[type-arg]
    return [one["id"] for one in message["data"]["samples"]]


def let_it_try_again(engine: Engine) -> None:
    """As if the time that an address is left in peace were over."""
    with writing(engine) as conn:
        conn.execute(hooks.update().values(due_at=None))


def test_critical_and_quarantined_samples_are_announced_once_and_without_their_text(
    ledger: Engine, settings: Settings, kept: Receiver
) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger)
    add_samples(ledger, dataset_name(ledger, dataset_id), [sample("held", 200)])
    held = sample_pks(ledger, dataset_id)[-1]
    quarantine_sample(ledger, scorer_id, held, "no template for it")
    number, secret = api.add_hook(ledger, kept.url, None, "critical")
    for _ in range(2):
        announce_all(ledger, settings)
    (message,) = kept.messages(secret)
    assert message["type"] == "samples.risky"
    assert message["data"]["counts"] == {"quarantined": 1, "critical": 2}
    states = [
        (one["state"], one["tier"], one["percentile"], one["risk"]) for one in message["data"]["samples"]
    ]
    assert states == [
        ("quarantined", None, None, None),
        ("scored", "critical", 100.0, 99.0),
        ("scored", "critical", pytest.approx(98.99, abs=0.01), 98.0),
    ]
    assert b"text" not in kept.received[0][1]
    assert b"template" not in kept.received[0][1]
    with reading(ledger) as conn:
        hook = api.hook_by_id(conn, number)
    assert (hook.failures, hook.waiting, hook.held, hook.trouble) == (0, 0, False, None)


def test_only_what_is_new_is_announced_afterwards(ledger: Engine, settings: Settings, kept: Receiver) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger)
    _, secret = api.add_hook(ledger, kept.url, dataset_id, "critical")
    announce_all(ledger, settings)
    add_samples(ledger, dataset_name(ledger, dataset_id), [sample("newer", 300)])
    pk = sample_pks(ledger, dataset_id)[-1]
    write_scores(ledger, scorer_id, [score_row(pk, dataset_id, 1000.0)])
    announce_all(ledger, settings)
    first, second = kept.messages(secret)
    assert len(names(first)) == 2
    assert second["data"]["counts"] == {"critical": 1}
    assert names(second) == [sample("newer").id]


def test_a_quarantined_sample_that_turns_out_critical_is_announced_again(
    ledger: Engine, settings: Settings, kept: Receiver
) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger)
    add_samples(ledger, dataset_name(ledger, dataset_id), [sample("held", 200)])
    pk = sample_pks(ledger, dataset_id)[-1]
    quarantine_sample(ledger, scorer_id, pk, "out of memory")
    _, secret = api.add_hook(ledger, kept.url, dataset_id, "critical")
    announce_all(ledger, settings)
    write_scores(ledger, scorer_id, [score_row(pk, dataset_id, 1000.0)])
    announce_all(ledger, settings)
    assert [message["data"]["counts"] for message in kept.messages(secret)] == [
        {"quarantined": 1, "critical": 2},
        {"critical": 1},
    ]


def test_a_failing_receiver_is_left_in_peace_and_gets_the_same_message_later(
    ledger: Engine, settings: Settings, kept: Receiver
) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger)
    number, secret = api.add_hook(ledger, kept.url, dataset_id, "critical")
    kept.answers = [500, 503]
    pauses: list[float] = []
    for _ in range(2):
        assert announce(ledger, number, settings).trouble
        assert announce_all(ledger, settings) == []  # held back
        pauses.append(seconds_to_wait(ledger))
        let_it_try_again(ledger)
    assert 0 < pauses[0] <= api.FIRST_PAUSE < pauses[1] <= 2 * api.FIRST_PAUSE
    with reading(ledger) as conn:
        hook = api.hook_by_id(conn, number)
    assert (hook.failures, hook.waiting, hook.trouble) == (2, 1, "the receiver answered 503")
    # what becomes risky meanwhile waits for its own message
    add_samples(ledger, dataset_name(ledger, dataset_id), [sample("newer", 300)])
    pk = sample_pks(ledger, dataset_id)[-1]
    write_scores(ledger, scorer_id, [score_row(pk, dataset_id, 1000.0)])
    announce(ledger, number, settings)
    tried = kept.names()
    assert tried[0] == tried[1] == tried[2] != tried[3]
    bodies = [body for _, body in kept.received]
    assert bodies[0] == bodies[1] == bodies[2]
    assert names(kept.messages(secret)[3]) == [sample("newer").id]


def test_the_pause_grows_to_an_hour_and_no_further(ledger: Engine) -> None:
    number, _ = api.add_hook(ledger, "http://localhost/", None, "critical")
    for failures in (8, 9, 5000):
        api.failed(ledger, number, failures, "the receiver answered 500")
        assert seconds_to_wait(ledger) == pytest.approx(min(3600, 10 * 2**failures), abs=5)


def test_a_process_killed_between_sending_and_noting_sends_it_again_under_the_same_name(
    ledger: Engine, settings: Settings, kept: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset_id, _, _ = scored_dataset(ledger)
    number, secret = api.add_hook(ledger, kept.url, dataset_id, "critical")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(api, "delivered", killed)
    with pytest.raises(KeyboardInterrupt):
        announce(ledger, number, settings)
    monkeypatch.undo()
    assert announce(ledger, number, settings).messages == 0  # its claim keeps others away for a while
    let_it_try_again(ledger)
    assert announce(ledger, number, settings).messages == 1
    first, second = kept.names()
    assert first == second
    assert kept.messages(secret)[0] == kept.messages(secret)[1]


def test_many_samples_go_out_in_few_messages_and_none_is_left_out(
    ledger: Engine, settings: Settings, kept: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST", 12)
    dataset_id, _, _ = scored_dataset(ledger, 100)
    number, secret = api.add_hook(ledger, kept.url, dataset_id, "medium")
    done = announce(ledger, number, settings)
    found = kept.messages(secret)
    assert done.messages == len(found) == 3
    told = [name for message in found for name in names(message)]
    assert len(told) == len(set(told)) == done.samples == 30
    assert found[0]["data"]["counts"] == {"critical": 2, "high": 8, "medium": 2}


def test_nothing_is_announced_while_most_of_a_dataset_is_not_scored(
    ledger: Engine, settings: Settings, kept: Receiver
) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger, 20)
    add_samples(ledger, dataset_name(ledger, dataset_id), [sample(f"more {i}", 100 + i) for i in range(20)])
    number, secret = api.add_hook(ledger, kept.url, None, "critical")
    announce(ledger, number, settings)
    assert kept.received == []
    rest = sample_pks(ledger, dataset_id)[20:]
    write_scores(ledger, scorer_id, [score_row(pk, dataset_id, 100.0 + pk) for pk in rest])
    announce(ledger, number, settings)
    assert kept.messages(secret)[0]["data"]["counts"] == {"critical": 1}


def test_a_hook_hears_of_its_own_dataset_only(ledger: Engine, settings: Settings, kept: Receiver) -> None:
    scorer_id = new_scorer(ledger)
    mine, _, _ = scored_dataset(ledger, scorer_id=scorer_id)
    scored_dataset(ledger, scorer_id=scorer_id)
    number, secret = api.add_hook(ledger, kept.url, mine, "critical")
    announce(ledger, number, settings)
    assert [m["data"]["dataset"] for m in kept.messages(secret)] == [dataset_name(ledger, mine)]


def test_one_broken_receiver_does_not_stop_the_others(
    ledger: Engine, settings: Settings, kept: Receiver
) -> None:
    dataset_id, _, _ = scored_dataset(ledger)
    api.add_hook(ledger, "http://localhost:1/", dataset_id, "critical")
    _, secret = api.add_hook(ledger, kept.url, dataset_id, "critical")
    done = announce_all(ledger, settings)
    assert [bool(one.trouble) for _, one in done] == [True, False]
    assert len(kept.messages(secret)) == 1


def test_two_that_write_the_same_news_make_one_message_of_it(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger)
    number, _ = api.add_hook(ledger, "http://localhost/", None, "critical")
    with reading(ledger) as conn:
        hook = api.hook_by_id(conn, number)
        found = api.news(conn, hook, dataset_id, scorer_id, get_settings().tiers, 10)
    made = [api.put_news(ledger, number, "samples.risky", found, lambda new: len(new)) for _ in range(2)]
    assert made == [2, 0]
    assert count(ledger, messages) == 1


def test_a_hook_that_is_removed_leaves_nothing_behind(
    ledger: Engine, settings: Settings, kept: Receiver
) -> None:
    scored_dataset(ledger)
    kept.answers = [500]
    number, _ = api.add_hook(ledger, kept.url, None, "critical")
    announce(ledger, number, settings)
    assert count(ledger, messages) == 1
    api.remove_hook(ledger, number)
    assert [count(ledger, table) for table in (hooks, messages, announced)] == [0, 0, 0]


def count(engine: Engine, table: sa.Table) -> int:
    with reading(engine) as conn:
        return conn.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def seconds_to_wait(engine: Engine) -> float:
    from curation.ledger.clock import seconds_since

    with reading(engine) as conn:
        return -conn.execute(sa.select(seconds_since(hooks.c.due_at))).scalar_one()


def dataset_name(engine: Engine, dataset_id: int) -> str:
    from curation.ledger.tables import datasets

    with reading(engine) as conn:
        return conn.execute(sa.select(datasets.c.name).where(datasets.c.id == dataset_id)).scalar_one()
