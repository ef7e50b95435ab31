"""Each unscored sample is leased to one process at a time, in batches, until it has a score or a reason."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, select

from curation.errors import LedgerError
from curation.ledger import leases as api
from curation.ledger.backlog import open_backlog, put_in_service, release, take_from_service
from curation.ledger.leases import (
    Holder,
    Lease,
    LeaseLost,
    claim,
    free_stale_leases,
    give_back,
    renew,
    write_results,
)
from curation.ledger.tables import backlog
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
    new_scorer,
    pks_of,
    quarantine_sample,
    ranges,
    score_row,
    scored_pks,
    state,
    to_score,
    write,
    write_scores,
)

on_each_engine = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
OTHER = Holder("elsewhere", 2)


def claim_all(engine: Engine, scorer_id: int, dataset_id: int | None = None) -> list[Lease]:
    """Everything there is to claim, left unfinished."""
    leases: list[Lease] = []
    while lease := claim(engine, scorer_id, HOLDER, LONG, dataset_id):
        leases.append(lease)
    return leases


def attempts(engine: Engine, lease: Lease) -> int:
    with engine.connect() as conn:
        return conn.execute(select(backlog.c.attempts).where(backlog.c.id == lease.id)).scalar_one()


@on_each_engine
@given(
    lengths=st.lists(st.integers(0, 40), max_size=14),
    touched=st.sets(st.integers(0, 13)),
    n_samples=st.integers(1, 4),
    n_chars=st.integers(1, 150),
)
def test_claims_cover_what_is_unscored_once_in_batches_as_large_as_allowed(
    ledger: Engine, lengths: list[int], touched: set[int], n_samples: int, n_chars: int
) -> None:
    texts = [f"{i:x}" + "x" * length for i, length in enumerate(lengths)]
    chars = [len(f"question {text}answer {text}") for text in texts]
    dataset_id, scorer_id, pks = to_score(ledger, texts)
    size = dict(zip(pks, chars, strict=True))
    for i in touched & set(range(len(pks))):
        if i % 2:
            write_scores(ledger, scorer_id, [score_row(pks[i], dataset_id, 0.0)])
        else:
            quarantine_sample(ledger, scorer_id, pks[i], "too long")
    with batches_of(n_samples, n_chars):
        batches = [lease_pks(ledger, lease) for lease in claim_all(ledger, scorer_id)]
    assert [pk for batch in batches for pk in batch] == [pk for i, pk in enumerate(pks) if i not in touched]
    for batch in batches:
        assert 1 <= len(batch) <= n_samples
        assert len(batch) == 1 or sum(size[pk] for pk in batch) <= n_chars
    for batch, after in pairwise(batches):
        assert len(batch) == n_samples or sum(size[pk] for pk in [*batch, after[0]]) > n_chars


@batches_of(3)
def test_claims_find_what_arrives_later_even_while_the_rest_is_leased(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, [])
    assert claim(ledger, scorer_id, HOLDER, LONG) is None
    pks = add_texts(ledger, dataset_id, ["a", "b"])
    held = claimed(ledger, scorer_id)
    assert lease_pks(ledger, held) == pks
    assert claim(ledger, scorer_id, OTHER, LONG) is None
    new_dataset(ledger, "xy")  # so that numbers have a gap
    later = add_texts(ledger, dataset_id, ["c", "d", "e", "f"])
    assert drain(ledger, scorer_id) == [later[:3], later[3:]]
    assert finish(ledger, held) == pks
    assert scored_pks(ledger, scorer_id) == [*pks, *later]
    assert [(row.first_pk, row.last_pk) for row in ranges(ledger, scorer_id)] == [(later[-1] + 1, None)]


def test_a_scorer_is_given_what_is_in_its_own_backlog_only(ledger: Engine) -> None:
    first, scorer_id, first_pks = to_score(ledger, "ab")
    second, third = new_dataset(ledger, "cd"), new_dataset(ledger, "ef")
    assert claim(ledger, new_scorer(ledger), HOLDER, LONG) is None
    open_backlog(ledger, scorer_id, second)
    assert claim(ledger, scorer_id, HOLDER, LONG, third) is None
    lease = claimed(ledger, scorer_id, second)
    assert (lease.scorer_id, lease.dataset_id) == (scorer_id, second)
    assert finish(ledger, lease) == pks_of(ledger, second)
    assert drain(ledger, scorer_id, second) == []
    assert drain(ledger, scorer_id) == [first_pks]
    open_backlog(ledger, scorer_id)
    assert drain(ledger, scorer_id) == [pks_of(ledger, third)]
    assert drain(ledger, scorer_id, first) == []


@batches_of(3)
def test_opening_a_backlog_again_changes_nothing(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = to_score(ledger, "abcdefg")
    claimed(ledger, scorer_id)
    before = state(ledger)
    open_backlog(ledger, scorer_id, dataset_id)
    assert state(ledger) == before
    open_backlog(ledger, scorer_id, dataset_id, sweep=True)
    assert state(ledger) == before  # nothing is lost yet


@batches_of(3)
def test_a_sweep_finds_what_is_in_no_range_and_leaves_leases_alone(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdefghijkl")
    lost, held, free = claimed(ledger, scorer_id), claimed(ledger, scorer_id), claimed(ledger, scorer_id)
    give_back(ledger, free)
    with ledger.begin() as conn:
        conn.execute(backlog.delete().where(backlog.c.id == lost.id))
    open_backlog(ledger, scorer_id, dataset_id, sweep=True)
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
    assert sorted(drain(ledger, scorer_id)) == [pks[:3], pks[6:9], pks[9:]]
    assert finish(ledger, held) == pks[3:6]


def test_nobody_else_gets_a_lease_until_it_runs_out(ledger: Engine) -> None:
    _, scorer_id, pks = to_score(ledger, "ab")
    old = claimed(ledger, scorer_id)
    assert claim(ledger, scorer_id, OTHER, LONG) is None
    expire(ledger, old)
    new = claimed(ledger, scorer_id, holder=OTHER)
    assert (new.id, lease_pks(ledger, new)) == (old.id, pks)
    assert new.token != old.token
    row = next(row for row in ranges(ledger, scorer_id) if row.id == new.id)
    assert (row.attempts, row.host, row.pid) == (2, "elsewhere", 2)


def test_a_lease_that_ran_out_is_good_until_somebody_takes_it(ledger: Engine) -> None:
    _, scorer_id, pks = to_score(ledger, "ab")
    lease = claimed(ledger, scorer_id)
    expire(ledger, lease)
    write(ledger, lease, pks[:1])
    assert claim(ledger, scorer_id, OTHER, LONG) is None  # the write renewed it
    expire(ledger, lease)
    renew(ledger, lease, LONG)
    assert claim(ledger, scorer_id, OTHER, LONG) is None
    assert finish(ledger, lease) == pks[1:]


def test_renewing_moves_the_end_of_a_lease(ledger: Engine) -> None:
    _, scorer_id, _ = to_score(ledger, "a")
    lease = claimed(ledger, scorer_id)
    ends = []
    for seconds in (LONG, 2 * LONG, 3 * LONG):
        renew(ledger, lease, seconds)
        ends.append(ranges(ledger, scorer_id)[0].leased_until)
    assert all((b - a).total_seconds() > LONG / 2 for a, b in pairwise(ends))


def taken_over(engine: Engine, lease: Lease) -> None:
    expire(engine, lease)
    claimed(engine, lease.scorer_id, holder=OTHER)


def finished(engine: Engine, lease: Lease) -> None:
    finish(engine, lease)


def retired(engine: Engine, lease: Lease) -> None:
    take_from_service(engine, lease.scorer_id)


def retired_and_back(engine: Engine, lease: Lease) -> None:
    take_from_service(engine, lease.scorer_id)
    put_in_service(engine, lease.scorer_id)
    claimed(engine, lease.scorer_id, holder=OTHER)


@pytest.mark.parametrize("end", [taken_over, finished, give_back, retired, retired_and_back])
def test_a_token_that_is_no_longer_good_changes_nothing(
    ledger: Engine, end: Callable[[Engine, Lease], None]
) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abc")
    lease = claimed(ledger, scorer_id)
    end(ledger, lease)
    before = state(ledger)
    for done in (False, True):
        with pytest.raises(LeaseLost):
            write_results(
                ledger, lease, [score_row(pks[0], dataset_id, 9.0)], [(pks[1], "late")], LONG, done=done
            )
    with pytest.raises(LeaseLost):
        renew(ledger, lease, LONG)
    give_back(ledger, lease, "late")
    assert state(ledger) == before


def test_results_are_kept_all_or_none(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abc")
    lease = claimed(ledger, scorer_id)
    before = state(ledger)
    rows = [score_row(pks[0], dataset_id, 1.0), score_row(pks[1], dataset_id, math.nan)]
    with pytest.raises(LedgerError, match="risk is nan"):
        write_results(ledger, lease, rows, [(pks[2], "too long")], LONG, done=True)
    assert state(ledger) == before
    write_results(ledger, lease, rows[:1], [(pks[2], "too long")], LONG, done=False)
    assert (scored_pks(ledger, scorer_id), held_pks(ledger, scorer_id)) == (pks[:1], {pks[2]: "too long"})
    assert lease_pks(ledger, lease) == [pks[1]]


def test_a_lease_given_back_is_free_at_once_and_counts_only_with_an_error(ledger: Engine) -> None:
    _, scorer_id, pks = to_score(ledger, "ab")
    for _ in range(5):
        lease = claimed(ledger, scorer_id)
        assert (attempts(ledger, lease), lease_pks(ledger, lease)) == (1, pks)
        give_back(ledger, lease)
    lease = claimed(ledger, scorer_id)
    give_back(ledger, lease, "ValueError" * 100)
    again = claimed(ledger, scorer_id)
    assert (again.id, attempts(ledger, again)) == (lease.id, 2)
    assert ranges(ledger, scorer_id)[0].last_error == ("ValueError" * 100)[:200]
    write(ledger, again, pks[:1])
    assert (attempts(ledger, again), ranges(ledger, scorer_id)[0].last_error) == (1, None)


@contextmanager
def ended_process(*, zombie: bool) -> Iterator[int]:
    process = subprocess.Popen([sys.executable, "-c", ""])
    if zombie:
        while psutil.Process(process.pid).status() != psutil.STATUS_ZOMBIE:
            pass
        yield process.pid
        process.wait()
    else:
        process.wait()
        yield process.pid


@pytest.mark.parametrize("zombie", [False, True])
@batches_of(3)
def test_only_leases_of_this_hosts_dead_processes_are_freed(ledger: Engine, zombie: bool) -> None:
    _, scorer_id, pks = to_score(ledger, "abcdefghi")
    me = Holder("here", os.getpid())
    parent = Holder("here", os.getppid())
    with ended_process(zombie=zombie) as pid:
        held = [claimed(ledger, scorer_id, holder=h) for h in (parent, Holder("here", pid))]
        held.append(claimed(ledger, scorer_id, holder=Holder("elsewhere", pid)))
        assert free_stale_leases(ledger, me) == 1
    assert free_stale_leases(ledger, me) == 0
    freed = claimed(ledger, scorer_id)
    assert (freed.id, lease_pks(ledger, freed), attempts(ledger, freed)) == (held[1].id, pks[3:6], 2)
    for lease in (held[0], held[2]):
        renew(ledger, lease, LONG)
    with pytest.raises(LeaseLost):
        renew(ledger, held[1], LONG)


def test_a_process_frees_what_it_claimed_without_knowing(ledger: Engine) -> None:
    _, scorer_id, pks = to_score(ledger, "ab")
    claimed(ledger, scorer_id, holder=OTHER)
    assert free_stale_leases(ledger, OTHER) == 1
    assert finish(ledger, claimed(ledger, scorer_id)) == pks


def test_processes_that_share_a_pid_one_after_another_do_not_hide_a_poison(ledger: Engine) -> None:
    """In a container a worker that died comes back as the same number on the same host."""
    _, scorer_id, (pk,) = to_score(ledger, "a")
    for _ in range(api.MAX_LOSSES):
        free_stale_leases(ledger, OTHER)
        claimed(ledger, scorer_id, holder=OTHER)  # and dies
    free_stale_leases(ledger, OTHER)
    assert claim(ledger, scorer_id, OTHER, LONG) is None
    assert list(held_pks(ledger, scorer_id)) == [pk]


def test_a_retired_scorer_is_given_nothing_and_one_put_back_what_it_lacks(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcd")
    quarantine_sample(ledger, scorer_id, pks[1], "out of memory")
    write_scores(ledger, scorer_id, [score_row(pks[0], dataset_id, 0.0)])
    claimed(ledger, scorer_id)
    take_from_service(ledger, scorer_id)
    assert claim(ledger, scorer_id, HOLDER, LONG) is None
    assert release(ledger, scorer_id, dataset_id) == 1
    assert ranges(ledger, scorer_id) == []
    assert scored_pks(ledger, scorer_id) == pks[:1]
    put_in_service(ledger, scorer_id)
    put_in_service(ledger, scorer_id)
    later = add_texts(ledger, dataset_id, ["e"])
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
    assert drain(ledger, scorer_id) == [[*pks[1:], *later]]
