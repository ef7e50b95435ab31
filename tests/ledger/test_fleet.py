"""What the fleet has left, and who is at work, counted as anybody could count it by hand."""

from __future__ import annotations

from datetime import UTC

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from curation.ledger import leases as api
from curation.ledger.backlog import (
    move_to_front,
    open_backlog,
    put_in_service,
    release,
    take_from_service,
    waiting_scorers,
)
from curation.ledger.clock import in_seconds, seconds_since
from curation.ledger.engine import reading, writing
from curation.ledger.fleet import (
    ALIVE_SECONDS,
    Backlog,
    Worker,
    backlogs,
    forget_worker,
    list_workers,
    scorers_in_service,
    seconds_left,
    show_worker,
)
from curation.ledger.leases import claim, give_back
from curation.ledger.scores import register_scorer
from curation.ledger.tables import backlog, metadata, quarantine, samples, scores, workers
from tests.ledger.builders import (
    HOLDER,
    LONG,
    add_texts,
    claimed,
    drain,
    expire,
    fingerprint,
    finish,
    held_pks,
    lease_pks,
    new_dataset,
    new_scorer,
    pks_of,
    quarantine_sample,
    ranges,
    score_row,
    scored_pks,
    write,
    write_scores,
)


def found(engine: Engine) -> dict[tuple[int, int], Backlog]:
    with reading(engine) as conn:
        return {(each.scorer_id, each.dataset_id): each for each in backlogs(conn)}


def leases(engine: Engine, scorer_id: int, dataset_id: int) -> tuple[int, int]:
    """Live ones, and those that ran out."""
    each = found(engine)[scorer_id, dataset_id]
    return each.leases, each.overdue


def age(conn: Connection, pks: list[int]) -> float | None:
    """Seconds that the oldest of some samples has been in the ledger."""
    seen = select(samples.c.first_seen).where(samples.c.id.in_(pks)).order_by(samples.c.first_seen).limit(1)
    return conn.execute(select(seconds_since(seen.scalar_subquery()))).scalar()


def assert_counted(engine: Engine, scorer_id: int, dataset_id: int) -> None:
    touched = {*scored_pks(engine, scorer_id), *held_pks(engine, scorer_id)}
    pks = pks_of(engine, dataset_id)
    left = [pk for pk in pks if pk not in touched]
    with engine.connect() as conn:
        before = age(conn, left)
    each = found(engine)[scorer_id, dataset_id]
    assert each.unscored == len(left)
    held = held_pks(engine, scorer_id).keys() - set(scored_pks(engine, scorer_id))
    assert each.quarantined == len(held & set(pks))
    with engine.connect() as conn:
        now = conn.execute(select(in_seconds(0.0))).scalar_one()
    of_dataset = [row for row in ranges(engine, scorer_id) if row.dataset_id == dataset_id]
    ends = [row.leased_until for row in of_dataset if row.token is not None]
    assert each.overdue == sum(end < now for end in ends)
    assert each.leases == len(ends) - each.overdue
    if not left:
        assert each.oldest_age is None
    else:
        with engine.connect() as conn:
            after = age(conn, left)
        assert before is not None
        assert after is not None
        assert each.oldest_age is not None
        assert before - 0.01 <= each.oldest_age <= after + 0.01


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(0, 12),
    fates=st.dictionaries(st.integers(0, 11), st.sampled_from(["scored", "held", "both"])),
    ends=st.lists(
        st.sampled_from(["live", "overdue", "freed", "finished", "written", "swept", "front"]), max_size=8
    ),
)
def test_a_backlog_is_counted_as_it_is(
    ledger: Engine, n: int, fates: dict[int, str], ends: list[str]
) -> None:
    with ledger.begin() as conn:
        for table in reversed(metadata.sorted_tables):
            conn.execute(table.delete())
    other = new_dataset(ledger, "xyz")
    dataset_id, scorer_id = new_dataset(ledger, map(str, range(n))), new_scorer(ledger)
    put_in_service(ledger, scorer_id)
    put_in_service(ledger, new_scorer(ledger))
    pks = pks_of(ledger, dataset_id)
    with writing(ledger) as conn:
        for i, pk in enumerate(pks):  # the oldest is neither first nor last
            seen = in_seconds(-1000.0 * (1 + 7 * i % 5))
            conn.execute(samples.update().where(samples.c.id == pk).values(first_seen=seen))
    for i, fate in fates.items():
        if i < n and fate != "held":
            write_scores(ledger, scorer_id, [score_row(pks[i], dataset_id, 0.0)])
        if i < n and fate != "scored":
            quarantine_sample(ledger, scorer_id, pks[i], "too long")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(api, "BATCH_SAMPLES", 2)
        claims = [claim(ledger, scorer_id, HOLDER, LONG, dataset_id) for _ in ends]
        for lease, end in zip(claims, ends, strict=True):
            if end == "swept":
                open_backlog(ledger, scorer_id, sweep=True)
            if end == "front":
                move_to_front(ledger, dataset_id)
            if lease is None:
                continue
            if end == "overdue":
                expire(ledger, lease)
            if end == "freed":
                give_back(ledger, lease)
            if end == "finished":
                finish(ledger, lease)
            if end == "written":
                write(ledger, lease, lease_pks(ledger, lease)[:1])
    assert_counted(ledger, scorer_id, dataset_id)
    assert_counted(ledger, scorer_id, other)
    add_texts(ledger, dataset_id, ["one more"])
    assert_counted(ledger, scorer_id, dataset_id)


def test_overdue_leases_that_are_moved_or_taken_over_are_overdue_no_more(ledger: Engine) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "ab"), new_scorer(ledger)
    put_in_service(ledger, scorer_id)
    for again in (lambda: move_to_front(ledger, dataset_id), lambda: None):
        expire(ledger, claimed(ledger, scorer_id))
        assert leases(ledger, scorer_id, dataset_id) == (0, 1)
        again()
    claimed(ledger, scorer_id)
    assert leases(ledger, scorer_id, dataset_id) == (1, 0)


def test_scorers_are_listed_while_in_service_or_at_work(ledger: Engine) -> None:
    first, second = new_dataset(ledger, "ab"), new_dataset(ledger, "c")
    served, at_work, idle = new_scorer(ledger), new_scorer(ledger), new_scorer(ledger)
    put_in_service(ledger, served)
    for scorer_id in (at_work, idle):
        open_backlog(ledger, scorer_id, first)
    lease = claimed(ledger, at_work)
    assert {key: each.in_service for key, each in found(ledger).items()} == {
        (served, first): True, (served, second): True, (at_work, first): False, (at_work, second): False
    }  # fmt: skip
    assert found(ledger)[served, first].dataset.startswith("dataset")
    assert found(ledger)[at_work, first].unscored == 2
    finish(ledger, lease)
    take_from_service(ledger, served)
    assert found(ledger) == {}


def test_what_was_released_is_left_again(ledger: Engine) -> None:
    dataset_id, scorer_id = new_dataset(ledger, "abc"), new_scorer(ledger)
    put_in_service(ledger, scorer_id)
    quarantine_sample(ledger, scorer_id, pks_of(ledger, dataset_id)[1], "out of memory")
    drain(ledger, scorer_id)
    assert_counted(ledger, scorer_id, dataset_id)
    release(ledger, scorer_id, dataset_id)
    assert found(ledger)[scorer_id, dataset_id].unscored == 1
    assert_counted(ledger, scorer_id, dataset_id)
    with ledger.connect() as conn:
        assert conn.execute(select(quarantine)).all() == []
        assert len(conn.execute(select(scores)).all()) == 2
        assert len(conn.execute(select(backlog)).all()) == 2


def test_scorers_in_service_come_with_their_cards_oldest_first(ledger: Engine) -> None:
    ids = [register_scorer(ledger, fingerprint(0xF00 + i), {"model": str(i)}) for i in range(3)]
    for scorer_id in (ids[2], ids[0], ids[0]):
        put_in_service(ledger, scorer_id)
    with reading(ledger) as conn:
        assert scorers_in_service(conn) == [
            (ids[0], fingerprint(0xF00), {"model": "0"}), (ids[2], fingerprint(0xF02), {"model": "2"})
        ]  # fmt: skip


def workers_by_name(engine: Engine) -> dict[str, Worker]:
    with reading(engine) as conn:
        return {worker.name: worker for worker in list_workers(conn)}


def test_a_worker_shows_what_has_changed_and_keeps_the_rest(ledger: Engine) -> None:
    scorer_id = register_scorer(ledger, fingerprint(0xE00), {})
    show_worker(ledger, "w", device="cuda:0", samples_per_second=12.5)
    show_worker(ledger, "w", scorer_id=scorer_id, trouble="no such model")
    show_worker(ledger, "other")
    worker = workers_by_name(ledger)["w"]
    assert (worker.device, worker.samples_per_second, worker.fingerprint, worker.trouble) == (
        "cuda:0", 12.5, fingerprint(0xE00), "no such model"
    )  # fmt: skip
    assert worker.started_at.tzinfo is UTC
    show_worker(ledger, "w", trouble=None)
    assert workers_by_name(ledger)["w"].trouble is None
    assert workers_by_name(ledger)["other"].device is None
    assert len(workers_by_name(ledger)) == 2


def test_a_worker_is_gone_once_it_was_silent_for_long_and_back_with_a_sign_of_life(ledger: Engine) -> None:
    silent = {"recent": 1.0, "quiet": ALIVE_SECONDS / 2, "gone": ALIVE_SECONDS + 1}
    for name, seconds in silent.items():
        show_worker(ledger, name)
        with writing(ledger) as conn:
            this = workers.update().where(workers.c.name == name)
            conn.execute(this.values(seen_at=in_seconds(-seconds)))
    listed = workers_by_name(ledger)
    assert list(listed) == ["recent", "quiet", "gone"]
    assert [worker.alive for worker in listed.values()] == [True, True, False]
    assert all(worker.silent >= silent[name] - 0.01 for name, worker in listed.items())
    show_worker(ledger, "gone")
    assert workers_by_name(ledger)["gone"].alive
    forget_worker(ledger, "gone")
    forget_worker(ledger, "gone")
    assert workers_by_name(ledger).keys() == {"recent", "quiet"}


def test_the_time_left_is_that_of_all_living_workers_together(ledger: Engine) -> None:
    new_dataset(ledger, "abcd"), new_dataset(ledger, "ef")
    first, second = new_scorer(ledger), new_scorer(ledger)
    put_in_service(ledger, first)
    put_in_service(ledger, second)
    for name, rate in (("a", 1.0), ("b", 0.5), ("gone", 100.0), ("new", None)):
        show_worker(ledger, name, scorer_id=first, samples_per_second=rate)
    with writing(ledger) as conn:
        gone = workers.update().where(workers.c.name == "gone")
        conn.execute(gone.values(seen_at=in_seconds(-ALIVE_SECONDS - 1)))
    with reading(ledger) as conn:
        assert seconds_left(backlogs(conn), list_workers(conn)) == {first: 4.0}


def test_a_dataset_that_no_worker_has_looked_at_counts_as_unscored(ledger: Engine) -> None:
    scorer_id = new_scorer(ledger)
    put_in_service(ledger, scorer_id)
    new_dataset(ledger, "abc")
    with reading(ledger) as conn:
        (found,) = backlogs(conn)
        assert waiting_scorers(conn) == [scorer_id]
    assert found.unscored == 3
    assert found.oldest_age is not None
