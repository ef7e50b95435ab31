"""Any history of claims, deaths, releases and sweeps: nothing is lost, shared or scored twice on the way."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Engine, select

from curation.ledger import leases as api
from curation.ledger.backlog import move_to_front, open_backlog, put_in_service, release, take_from_service
from curation.ledger.clock import in_seconds
from curation.ledger.leases import Lease, LeaseLost, claim, give_back, write_results
from curation.ledger.tables import backlog, metadata, scores
from tests.ledger.builders import (
    HOLDER,
    LONG,
    add_texts,
    assert_nothing_is_lost_or_shared,
    expire,
    held_pks,
    lease_pks,
    new_dataset,
    new_scorer,
    pks_of,
    ranges,
    score_row,
)

AT_MOST = 5
"""Samples in a batch."""


@dataclass
class Worker:
    """A lease and what its holder still has to do, as it read it once; it may have lost the lease since."""

    lease: Lease
    todo: list[int]


class Histories(RuleBasedStateMachine):
    """A scorer in service on two datasets, the scores it gave, and who is at work."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.engine = engine
        with engine.begin() as conn:
            for table in reversed(metadata.sorted_tables):
                conn.execute(table.delete())
        self.datasets = [new_dataset(engine, []), new_dataset(engine, [])]
        self.scorer_id = new_scorer(engine)
        put_in_service(engine, self.scorer_id)
        self.scored: dict[int, float] = {}
        self.poison: set[int] = set()
        self.workers: list[Worker] = []
        self.failed = False
        self.texts = 0
        self.writes = 0.0

    @initialize(n=st.integers(1, 12), batches=st.lists(st.sampled_from(["write", "finish"]), max_size=4))
    def begin(self, n: int, batches: list[str]) -> None:
        for which in (0, 1):
            self.add(which, n)
        for how in batches:
            self.claim()
            for worker in [worker for worker in self.workers[-1:] if worker.todo]:
                failed, *others = worker.todo
                done = how == "finish"
                self._write(worker, others if done else [], [(failed, "too long")], done=done)

    @rule(which=st.integers(0, 1), n=st.integers(1, 8))
    def add(self, which: int, n: int) -> None:
        add_texts(self.engine, self.datasets[which], [str(self.texts + i) for i in range(n)])
        self.texts += n

    @rule()
    def claim(self) -> None:
        if lease := claim(self.engine, self.scorer_id, HOLDER, LONG):
            todo = lease_pks(self.engine, lease)
            assert len(todo) <= AT_MOST
            assert not self.scored.keys() & set(todo)
            assert not held_pks(self.engine, self.scorer_id).keys() & set(todo)
            for other in self.workers:
                assert not (self._holds(other, live=True) and set(other.todo) & set(todo))
            self.workers.append(Worker(lease, todo))

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), n=st.integers(1, 3), fails=st.booleans())
    def write(self, data: st.DataObject, n: int, fails: bool) -> None:
        worker = self._pick(data)
        todo = self._before_poison(worker)[:n]
        if not todo:
            self._die(worker)
            return
        failures = [(todo.pop(0), "too long")] if fails else []
        self._write(worker, todo, failures, done=False)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), fails=st.booleans())
    def finish(self, data: st.DataObject, fails: bool) -> None:
        worker = self._pick(data)
        todo = list(self._before_poison(worker))
        alive = todo == worker.todo
        failures = [(todo.pop(), "too long")] if fails and todo else []
        self._write(worker, todo, failures, done=alive)
        if not alive:
            self._die(worker)

    @precondition(lambda self: self.workers)
    @rule(data=st.data(), how=st.sampled_from(["falls asleep", "dies", "gives back", "fails"]))
    def stop(self, data: st.DataObject, how: str) -> None:
        worker = self._pick(data)
        if how in ("falls asleep", "dies"):
            expire(self.engine, worker.lease)
        else:
            give_back(self.engine, worker.lease, "ValueError at model.py:1" if how == "fails" else None)
        if how != "falls asleep":
            self.workers.remove(worker)

    @rule(data=st.data())
    def poison_one(self, data: st.DataObject) -> None:
        if left := self._untouched():
            self.poison.add(data.draw(st.sampled_from(left)))

    @precondition(lambda self: self.failed)
    @rule()
    def release(self) -> None:
        held = held_pks(self.engine, self.scorer_id)
        assert sum(release(self.engine, self.scorer_id, each) for each in self.datasets) == len(held)
        self.failed = False

    @rule(which=st.integers(0, 1), data=st.data())
    def move_to_front(self, which: int, data: st.DataObject) -> None:
        after = data.draw(st.sampled_from([0, *pks_of(self.engine, self.datasets[which])]))
        move_to_front(self.engine, self.datasets[which], after)

    @rule(whole=st.booleans())
    def sweep(self, whole: bool) -> None:
        open_backlog(self.engine, self.scorer_id, None if whole else self.datasets[0], sweep=True)

    @rule()
    def retire_and_put_back(self) -> None:
        take_from_service(self.engine, self.scorer_id)
        assert ranges(self.engine, self.scorer_id) == []
        put_in_service(self.engine, self.scorer_id)

    @invariant()
    def nothing_is_lost_or_shared(self) -> None:
        assert_nothing_is_lost_or_shared(self.engine, self.scorer_id, *self.datasets)

    @invariant()
    def scores_are_those_that_were_written_first(self) -> None:
        with self.engine.connect() as conn:
            found = {row.sample_id: row.risk for row in conn.execute(select(scores))}
        assert found == self.scored

    def teardown(self) -> None:
        """Whatever happened, those who come later get everything done."""
        for worker in self.workers:
            expire(self.engine, worker.lease)
        self.workers = []
        for _ in range(20 * (1 + self.texts)):
            self.claim()
            if not self.workers:
                break
            (worker,) = self.workers
            todo = self._before_poison(worker)
            if todo == worker.todo:
                self._write(worker, todo, [], done=True)
            else:
                self._die(worker)
        assert self._untouched() == []
        self.nothing_is_lost_or_shared()
        self.scores_are_those_that_were_written_first()
        assert self.poison <= held_pks(self.engine, self.scorer_id).keys()
        everything = {pk for dataset_id in self.datasets for pk in pks_of(self.engine, dataset_id)}
        assert self.scored.keys() | held_pks(self.engine, self.scorer_id).keys() == everything

    def _pick(self, data: st.DataObject) -> Worker:
        return data.draw(st.sampled_from(self.workers))

    def _before_poison(self, worker: Worker) -> list[int]:
        """What the worker can do before it dies, if it has a poison."""
        places = [i for i, pk in enumerate(worker.todo) if pk in self.poison]
        return worker.todo[: places[0]] if places else worker.todo

    def _write(self, worker: Worker, todo: list[int], failures: list[tuple[int, str]], *, done: bool) -> None:
        self.writes += 1.0
        rows = [score_row(pk, worker.lease.dataset_id, self.writes) for pk in todo]
        if not self._holds(worker):
            with pytest.raises(LeaseLost):
                write_results(self.engine, worker.lease, rows, failures, LONG, done=done)
            self.workers.remove(worker)
            return
        write_results(self.engine, worker.lease, rows, failures, LONG, done=done)
        self.scored |= dict.fromkeys(todo, self.writes)
        self.failed = self.failed or bool(failures)
        gone = {*todo, *(pk for pk, _ in failures)}
        worker.todo = [pk for pk in worker.todo if pk not in gone]
        if done:
            self.workers.remove(worker)

    def _die(self, worker: Worker) -> None:
        expire(self.engine, worker.lease)
        if worker in self.workers:
            self.workers.remove(worker)

    def _holds(self, worker: Worker, *, live: bool = False) -> bool:
        query = select(backlog.c.id).where(backlog.c.token == worker.lease.token)
        if live:
            query = query.where(backlog.c.leased_until > in_seconds(0.0))
        with self.engine.connect() as conn:
            return conn.execute(query).scalar() is not None

    def _untouched(self) -> list[int]:
        touched = self.scored.keys() | held_pks(self.engine, self.scorer_id).keys()
        return [pk for each in self.datasets for pk in pks_of(self.engine, each) if pk not in touched]


def test_no_history_loses_shares_or_scores_twice(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "BATCH_SAMPLES", AT_MOST)
    run_state_machine_as_test(
        lambda: Histories(ledger),
        settings=settings(
            max_examples=25 if ledger.dialect.name == "sqlite" else 15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
