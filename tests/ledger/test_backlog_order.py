"""What is taken first, what is taken apart, and what comes back: the front, poison, releases."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine

from curation.ledger import leases as api
from curation.ledger.backlog import move_to_front, open_backlog, release
from curation.ledger.leases import LeaseLost, claim, give_back, renew, write_results
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
    scored_pks,
    state,
    to_score,
    write,
)

on_each_engine = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def score_dying_of(engine: Engine, scorer_id: int, poison: set[int]) -> int:
    """Score until nothing is left; whoever holds a poison dies. Returns the number of deaths."""
    deaths = 0
    while lease := claim(engine, scorer_id, HOLDER, LONG):
        pks = lease_pks(engine, lease)
        if poison & set(pks):
            deaths += 1
            expire(engine, lease)
        else:
            write(engine, lease, pks, done=True)
    return deaths


@settings(on_each_engine, max_examples=10)
@given(data=st.data(), n=st.integers(1, 24), n_poisons=st.integers(1, 2))
def test_poison_ends_in_quarantine_alone_after_few_deaths(
    ledger: Engine, data: st.DataObject, n: int, n_poisons: int
) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, map(str, range(n)))
    poison = data.draw(st.sets(st.sampled_from(pks), min_size=1, max_size=n_poisons))
    with batches_of(16):
        deaths = score_dying_of(ledger, scorer_id, poison)
    assert held_pks(ledger, scorer_id) == dict.fromkeys(
        poison, "its worker died 2 times in a row while scoring it"
    )
    assert scored_pks(ledger, scorer_id) == [pk for pk in pks if pk not in poison]
    assert deaths <= len(poison) * (api.MAX_LOSSES + math.ceil(math.log2(min(n, 16))) + 1)
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)


def test_a_range_is_not_taken_apart_while_it_gets_on(ledger: Engine) -> None:
    _, scorer_id, pks = to_score(ledger, map(str, range(12)))
    while lease := claim(ledger, scorer_id, HOLDER, LONG):
        left = lease_pks(ledger, lease)
        assert left == pks[len(scored_pks(ledger, scorer_id)) :]
        write(ledger, lease, left[:1])
        expire(ledger, lease)
    assert scored_pks(ledger, scorer_id) == pks


def test_a_sample_that_fails_alone_is_held_with_its_error(ledger: Engine) -> None:
    _, scorer_id, (pk,) = to_score(ledger, "a")
    for _ in range(api.MAX_LOSSES):
        give_back(ledger, claimed(ledger, scorer_id), "ValueError at model.py:12")
    assert claim(ledger, scorer_id, HOLDER, LONG) is None
    reason = "scoring it failed 2 times in a row: ValueError at model.py:12"
    assert held_pks(ledger, scorer_id) == {pk: reason}


@batches_of(3)
def test_what_is_moved_to_the_front_comes_first_and_later_arrivals_wait(ledger: Engine) -> None:
    _, scorer_id, first_pks = to_score(ledger, "abcd")
    urgent = new_dataset(ledger, "efgh")
    open_backlog(ledger, scorer_id, urgent)
    pks = pks_of(ledger, urgent)
    move_to_front(ledger, urgent)
    later = add_texts(ledger, urgent, ["i"])
    assert drain(ledger, scorer_id) == [pks[:3], pks[3:], first_pks[:3], first_pks[3:], later]


@batches_of(3)
def test_only_what_came_after_a_sample_is_moved(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdefgh")
    other = new_scorer(ledger)
    open_backlog(ledger, other, dataset_id)
    move_to_front(ledger, dataset_id, after_pk=pks[3])
    for each in (scorer_id, other):
        assert_nothing_is_lost_or_shared(ledger, each, dataset_id)
        assert drain(ledger, each) == [pks[4:7], pks[7:], pks[:3], pks[3:4]]


@batches_of(3)
def test_moving_cuts_through_ranges_but_not_through_leases(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, map(str, range(14)))
    free, lost, held = (claimed(ledger, scorer_id) for _ in range(3))
    give_back(ledger, free, "an error")
    expire(ledger, lost)
    before = next(row for row in ranges(ledger, scorer_id) if row.id == held.id)
    move_to_front(ledger, dataset_id, after_pk=pks[1])
    found = ranges(ledger, scorer_id)
    assert next(row for row in found if row.id == held.id) == before
    assert [(row.priority, row.attempts, row.last_error) for row in found] == [
        (0, 1, "an error"), (1, 1, "an error"), (1, 1, None), (0, 1, None), (1, 0, None), (0, 0, None)
    ]  # fmt: skip
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
    with pytest.raises(LeaseLost):
        renew(ledger, lost, LONG)
    assert sorted(drain(ledger, scorer_id)[:4]) == [pks[2:3], pks[3:6], pks[9:12], pks[12:]]
    assert finish(ledger, held) == pks[6:9]
    assert scored_pks(ledger, scorer_id) == pks


@batches_of(3)
def test_who_was_moved_last_comes_first(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdef")
    move_to_front(ledger, dataset_id)
    move_to_front(ledger, dataset_id, after_pk=pks[3])
    assert finish(ledger, claimed(ledger, scorer_id)) == pks[4:]
    other = new_dataset(ledger, "gh")
    open_backlog(ledger, scorer_id, other)
    move_to_front(ledger, other)
    assert drain(ledger, scorer_id) == [pks_of(ledger, other), pks[:3], pks[3:4]]


def test_moving_what_is_done_or_empty_changes_nothing(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abc")
    empty = new_dataset(ledger, [])
    open_backlog(ledger, scorer_id, empty)
    drain(ledger, scorer_id)
    before = state(ledger)
    move_to_front(ledger, dataset_id)
    move_to_front(ledger, empty)
    move_to_front(ledger, dataset_id, after_pk=pks[-1])
    assert state(ledger) == before


@batches_of(3)
def test_released_samples_are_scored_after_all(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abcdefgh")
    for pk in (pks[0], pks[1], pks[3], pks[7]):
        quarantine_sample(ledger, scorer_id, pk, "out of memory")
    drain(ledger, scorer_id)
    assert release(ledger, new_scorer(ledger), dataset_id) == 0
    assert release(ledger, scorer_id, dataset_id) == 4
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
    assert drain(ledger, scorer_id) == [pks[:2], pks[3:4], pks[7:]]
    assert (scored_pks(ledger, scorer_id), held_pks(ledger, scorer_id)) == (pks, {})


def test_a_sample_released_from_the_middle_of_a_lease_is_not_ended_with_it(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = to_score(ledger, "abc")
    lease = claimed(ledger, scorer_id)
    write_results(ledger, lease, [], [(pks[1], "out of memory")], LONG, done=False)
    release(ledger, scorer_id, dataset_id)
    assert_nothing_is_lost_or_shared(ledger, scorer_id, dataset_id)
    with pytest.raises(LeaseLost):  # its holder knows of the two others only
        write(ledger, lease, [pks[0], pks[2]], done=True)
    assert drain(ledger, scorer_id) == [pks]
