"""Claims, sweeps and releases at the same time, and processes that sleep through their lease."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine, event, select

from curation.ledger.backlog import move_to_front, open_backlog, put_in_service, release, take_from_service
from curation.ledger.leases import Holder, Lease, LeaseLost, claim, give_back, write_results
from curation.ledger.tables import backlog, scores
from tests.ledger.builders import (
    HOLDER,
    LONG,
    add_texts,
    assert_nothing_is_lost_or_shared,
    batches_of,
    claimed,
    drain,
    expire,
    finish,
    held_pks,
    lease_pks,
    new_dataset,
    pks_of,
    quarantine_sample,
    ranges,
    scored_pks,
    to_score,
    write,
)

OTHER = Holder("elsewhere", 2)


def at_once(n: int, work: Callable[[int], None]) -> None:
    """Run `work` in so many threads that begin together; raises what they raise."""
    start = threading.Barrier(n)
    failures: list[BaseException] = []

    def run(i: int) -> None:
        try:
            start.wait()
            work(i)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_claimers_at_once_never_share_a_sample(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, map(str, range(200)))
    mine: list[list[int]] = [[] for _ in range(6)]

    def work(i: int) -> None:
        while lease := claim(ledger, scorer_id, Holder("here", i), LONG, dataset_id):
            mine[i] += lease_pks(ledger, lease)

    with batches_of(3):
        at_once(6, work)
    assert sorted(pk for each in mine for pk in each) == pks
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)


def test_whatever_happens_at_once_nothing_is_lost_or_shared(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = to_score(ledger, map(str, range(60)))
    put_in_service(ledger, scorer_id)

    def work(i: int) -> None:
        if i == 0:
            disturb()
            return
        for turn in range(1000):
            lease = claim(ledger, scorer_id, Holder("here", i), LONG)
            if lease is None:
                break
            pks = lease_pks(ledger, lease)
            try:
                if turn % 3 == 0:
                    expire(ledger, lease)
                elif turn % 3 == 1 and len(pks) > 1:
                    write_results(ledger, lease, [], [(pks[0], "no")], LONG, done=False)
                    give_back(ledger, lease)
                else:
                    write(ledger, lease, pks, done=True)
            except LeaseLost:
                pass

    def disturb() -> None:
        for turn in range(12):
            add_texts(ledger, dataset_id, [f"{turn} {i}" for i in range(4)])
            open_backlog(ledger, scorer_id, sweep=True)
            assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
            release(ledger, scorer_id, dataset_id)
            assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
            move_to_front(ledger, dataset_id, turn)
            assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
            if turn == 6:
                take_from_service(ledger, scorer_id)
                put_in_service(ledger, scorer_id)

    with batches_of(4):
        at_once(5, work)
        release(ledger, scorer_id, dataset_id)
        with ledger.begin() as conn:
            conn.execute(backlog.update().values(token=None, leased_until=None))
        drain(ledger, scorer_id)
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
    assert len(scored_pks(ledger, scorer_id)) + len(held_pks(ledger, scorer_id)) == 108


@contextmanager
def paused_claim(engine: Engine, scorer_id: int) -> Iterator[list[Lease | None]]:
    """A claim that has cut its lease but not committed yet; it goes on at the end of the block."""
    cut, go_on = threading.Event(), threading.Event()
    found: list[Lease | None] = []
    thread = threading.Thread(target=lambda: found.append(claim(engine, scorer_id, HOLDER, LONG)))

    def pause(_conn: object) -> None:
        if threading.current_thread() is thread:
            cut.set()
            go_on.wait()

    event.listen(engine, "commit", pause)
    thread.start()
    cut.wait()
    try:
        yield found
    finally:
        go_on.set()
        thread.join()
        event.remove(engine, "commit", pause)


def wait_for_a_lock(engine: Engine, thread: threading.Thread) -> None:
    waiting = sa.text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with engine.connect() as conn:
        conn = conn.execution_options(isolation_level="AUTOCOMMIT")
        while thread.is_alive() and not conn.execute(waiting).scalar_one():
            pass
    assert thread.is_alive()


@pytest.mark.slow
@batches_of(3)
def test_a_claim_waits_for_the_one_before_it_instead_of_finding_nothing(postgres_ledger: Engine) -> None:
    _, scorer_id, pks = to_score(postgres_ledger, "abcdef")
    second: list[Lease | None] = []
    thread = threading.Thread(
        target=lambda: second.append(claim(postgres_ledger, scorer_id, OTHER, LONG)), daemon=True
    )
    with paused_claim(postgres_ledger, scorer_id) as first:
        thread.start()
        wait_for_a_lock(postgres_ledger, thread)
    thread.join()
    leases = [lease for lease in (*first, *second) if lease]
    assert [lease_pks(postgres_ledger, lease) for lease in leases] == [pks[:3], pks[3:]]


@pytest.mark.slow
def test_a_claim_passes_by_a_range_that_is_being_claimed(postgres_ledger: Engine) -> None:
    _, scorer_id, first_pks = to_score(postgres_ledger, "ab")
    other = new_dataset(postgres_ledger, "cd")
    open_backlog(postgres_ledger, scorer_id, other)
    with paused_claim(postgres_ledger, scorer_id) as first:
        lease = claimed(postgres_ledger, scorer_id, holder=OTHER)
        assert finish(postgres_ledger, lease) == pks_of(postgres_ledger, other)
    assert first[0] is not None
    assert finish(postgres_ledger, first[0]) == first_pks


@pytest.mark.slow
@pytest.mark.parametrize("act", ["sweep", "retire", "release", "to front"])
@batches_of(3)
def test_a_lease_that_is_being_cut_is_not_overlooked(postgres_ledger: Engine, act: str) -> None:
    dataset_id, scorer_id, pks = to_score(postgres_ledger, "abcdef")
    quarantine_sample(postgres_ledger, scorer_id, pks[1], "too long")
    acts: dict[str, Callable[[], object]] = {
        "sweep": lambda: open_backlog(postgres_ledger, scorer_id, sweep=True),
        "retire": lambda: take_from_service(postgres_ledger, scorer_id),
        "release": lambda: release(postgres_ledger, scorer_id, dataset_id),
        "to front": lambda: move_to_front(postgres_ledger, dataset_id),
    }
    thread = threading.Thread(target=acts[act], daemon=True)
    with paused_claim(postgres_ledger, scorer_id):
        thread.start()
        wait_for_a_lock(postgres_ledger, thread)
    thread.join()
    if act == "retire":
        assert ranges(postgres_ledger, scorer_id) == []
    else:
        assert_nothing_is_lost_or_shared(postgres_ledger, scorer_id, dataset_id)


@batches_of(3)
def test_who_sleeps_through_a_lease_cannot_write_any_more(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdefgh")
    asleep = claim(ledger, scorer_id, HOLDER, 0.05)
    assert asleep
    rest = claimed(ledger, scorer_id)
    awake = None
    while awake is None or awake.id != asleep.id:  # gone with time itself for once
        awake = claim(ledger, scorer_id, OTHER, LONG)
        if awake and awake.id != asleep.id:
            write(ledger, awake, lease_pks(ledger, awake), done=True, risk=1.0)
    with pytest.raises(LeaseLost):
        write(ledger, asleep, pks[:3], done=True, risk=9.0)
    write(ledger, awake, pks[:1], risk=1.0)
    with pytest.raises(LeaseLost):
        write(ledger, asleep, pks[:3], risk=9.0)
    write(ledger, awake, pks[1:3], done=True, risk=1.0)
    write(ledger, rest, lease_pks(ledger, rest), done=True, risk=1.0)
    drain(ledger, scorer_id)
    with ledger.connect() as conn:
        found = conn.execute(select(scores.c.sample_id, scores.c.risk).order_by(scores.c.sample_id)).all()
    assert [tuple(row) for row in found] == [(pk, 1.0) for pk in pks]
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
