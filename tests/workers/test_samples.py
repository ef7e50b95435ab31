"""Samples that kill, starve or confuse whoever scores them end at the top of the queue, and take no other along."""

from __future__ import annotations

import time

from tests.workers import stub
from tests.workers.harness import Fleet


def test_a_sample_that_kills_its_process_is_found_and_set_aside(fleet: Fleet) -> None:
    texts = [str(i) for i in range(300)]
    texts[123] = f"{stub.ABORT} 123"
    fleet.ingest(texts)
    scorer_id = fleet.serve(batch=16, seconds=0.005)
    fleet.start("beat")
    fleet.workers(2)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id, hopeless=[stub.ABORT])


def test_what_raises_eats_all_memory_or_has_no_finite_loss_is_set_aside(fleet: Fleet) -> None:
    texts = [str(i) for i in range(200)]
    texts[50], texts[100], texts[150] = (
        f"{stub.RAISE} 50",
        f"{stub.TOO_LARGE} 100",
        f"{stub.NOT_A_NUMBER} 150",
    )
    fleet.ingest(texts)
    scorer_id = fleet.serve(batch=16, seconds=0.005)
    fleet.workers(1)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id, hopeless=[stub.RAISE, stub.TOO_LARGE, stub.NOT_A_NUMBER])
    assert fleet.reasons() == [
        "scoring it failed 2 times in a row: MemoryError at stub.py",
        "scoring it failed 2 times in a row: ValueError at stub.py",
        "the score is not a finite number",
    ]
    assert stub.RAISE not in fleet.logs()  # no text of a sample in any log


def test_two_schedulers_do_no_harm(fleet: Fleet) -> None:
    fleet.ingest(str(i) for i in range(300))
    scorer_id = fleet.serve()
    fleet.start("beat")
    fleet.start("beat")
    fleet.workers(2)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def test_a_worker_whose_clock_is_wrong_takes_nothing_over(fleet: Fleet) -> None:
    fleet.lease_seconds = 60  # one that runs out on a busy machine is taken over, and rightly so
    fleet.ingest(str(i) for i in range(800))
    scorer_id = fleet.serve(batch=8, seconds=0.05)
    fleet.start(skew=3600.0)
    fleet.start(skew=-3600.0)
    fleet.start()
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)
    assert "lost the lease" not in fleet.logs()


def test_a_scorer_that_comes_into_service_at_half_and_both_complete(fleet: Fleet) -> None:
    fleet.ingest(str(i) for i in range(2000))
    old = fleet.serve(batch=8, seconds=0.04, name="old")
    fleet.workers(2)
    fleet.wait_until_scored(old, 200)
    assert fleet.settled(old) < 2000
    new = fleet.serve(batch=8, seconds=0.01, name="new")
    fleet.ingest(str(i) for i in range(2000, 2100))
    fleet.wait_until_scored(new)
    fleet.wait_until_scored(old)
    fleet.check(old)
    fleet.check(new)


def test_a_scorer_that_is_retired_at_half_stops_and_keeps_its_scores(fleet: Fleet) -> None:
    fleet.ingest(str(i) for i in range(2000))
    old = fleet.serve(batch=8, seconds=0.05, name="old")
    fleet.workers(1)
    fleet.wait_until_scored(old, 100)
    new = fleet.serve(batch=8, seconds=0.001, name="new")
    fleet.retire(old)
    fleet.wait_until_scored(new)
    kept = fleet.settled(old)
    assert 100 <= kept < 2000
    time.sleep(1.0)
    assert fleet.settled(old) == kept
    fleet.check(new)
