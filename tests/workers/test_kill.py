"""Workers that are killed, frozen and stopped: nothing is lost, nothing is scored twice."""

from __future__ import annotations

import random
import signal
import time
from contextlib import suppress

import psutil
import sqlalchemy as sa

from curation.errors import LedgerError
from curation.ledger import reading, writing
from curation.ledger.fleet import list_workers
from curation.ledger.tables import backlog
from tests.workers.harness import LEASE_SECONDS, PATIENCE, Fleet


def test_a_fleet_scores_what_is_there_and_what_arrives(fleet: Fleet) -> None:
    fleet.ingest(str(i) for i in range(300))
    scorer_id = fleet.serve()
    fleet.workers(2)
    fleet.wait_until_scored(scorer_id, 100)
    fleet.ingest(str(i) for i in range(300, 400))
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def test_children_killed_at_20_random_points_lose_nothing(fleet: Fleet) -> None:
    fleet.ingest(str(i) for i in range(2500))
    scorer_id = fleet.serve(batch=4, seconds=0.05)
    nodes = fleet.workers(2)
    draw = random.Random(20)
    killed = 0
    while killed < 20 and fleet.settled(scorer_id) < len(fleet.accepted):
        time.sleep(draw.uniform(0.05, 1.5))
        child = draw.choice(nodes).child()
        if child is not None:
            child.kill()
            killed += 1
    assert killed == 20, "the work was over too soon to disturb it"
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def test_parents_killed_in_the_middle_are_replaced_by_others(fleet: Fleet) -> None:
    scorer_id = fleet.serve(batch=4, seconds=0.05)
    nodes = fleet.workers(2)
    draw = random.Random(5)
    for i in range(
        4
    ):  # new work each time: a fast machine would finish any fixed amount while a worker starts
        fleet.ingest(f"{i} {j}" for j in range(500))
        fleet.wait(fleet.lease_pids, "somebody at work")
        time.sleep(draw.uniform(0.1, 1.0))
        node = nodes.pop(draw.randrange(len(nodes)))
        child = node.child()
        node.kill()
        assert (
            child is None or not child.is_running() or child.wait(PATIENCE) is None
        )  # it dies with its parent
        nodes += fleet.workers(1)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def suspend_between_writes(fleet: Fleet, process: psutil.Process) -> None:
    """In the middle of one, it would keep everybody else from writing to SQLite."""
    while True:
        process.suspend()
        with suppress(LedgerError), writing(fleet.engine):
            return
        process.resume()


def test_a_zombie_that_wakes_after_its_lease_changes_nothing(fleet: Fleet) -> None:
    fleet.ingest(str(i) for i in range(256))
    scorer_id = fleet.serve(batch=8, seconds=0.2)
    (first,) = fleet.workers(1)
    fleet.wait(fleet.lease_pids, "a lease")
    frozen = first.child()
    assert frozen is not None
    suspend_between_writes(fleet, frozen)
    held = fleet.settled(scorer_id)
    time.sleep(LEASE_SECONDS + 0.5)
    fleet.workers(1)
    fleet.wait_until_scored(scorer_id, held + 64)
    frozen.resume()
    fleet.wait_until_scored(scorer_id)
    fleet.wait(lambda: "lost the lease" in first.log.read_text(), "the zombie noticing")
    fleet.check(scorer_id)


def test_sigterm_keeps_what_is_scored_and_gives_the_rest_back(fleet: Fleet) -> None:
    fleet.ingest(str(i) for i in range(3000))
    scorer_id = fleet.serve(batch=8, seconds=0.2)
    (node,) = fleet.workers(1)
    fleet.wait_until_scored(scorer_id, 24)
    assert node.stop() == 0, fleet.logs()
    assert fleet.lease_pids() == []
    assert 24 <= fleet.settled(scorer_id) < 3000
    with reading(fleet.engine) as conn:
        assert not conn.execute(sa.select(backlog.c.id).where(backlog.c.attempts > 0)).all()
        assert list_workers(conn) == []


def test_sigint_of_the_whole_group_ends_a_worker_too(postgres_fleet: Fleet) -> None:
    fleet = postgres_fleet
    fleet.ingest(str(i) for i in range(200))
    scorer_id = fleet.serve(batch=8, seconds=0.05)
    (node,) = fleet.workers(1)
    fleet.wait_until_scored(scorer_id, 8)
    node.process.send_signal(signal.SIGINT)
    assert node.process.wait(PATIENCE) == 0
    fleet.workers(1)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)
