"""The broker may lose everything, be away or repeat itself: it only ever says that there is something to look at."""

from __future__ import annotations

import threading
import time

import pytest
from kombu import Connection

from tests import servers
from tests.ledger.builders import sample
from tests.workers.harness import PATIENCE, Fleet
from workers.app import make_app
from workers.bells import queue_of, ring, ring_all


def app_of(fleet: Fleet, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CURATION_BROKER_URL", fleet.broker)
    return make_app()


def test_a_broker_that_forgets_everything_costs_no_sample(fleet: Fleet, redis: servers.Redis) -> None:
    fleet.ingest(str(i) for i in range(2000))
    scorer_id = fleet.serve(batch=8, seconds=0.05)
    fleet.start("beat")
    fleet.workers(2)
    fleet.wait(fleet.lease_pids, "somebody at work")
    for _ in range(5):  # in less than half the time that the work takes
        time.sleep(0.5)
        redis.client().flushall()
    assert fleet.settled(scorer_id) < len(fleet.accepted)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def test_a_broker_that_is_killed_and_comes_back_empty(
    postgres_fleet: Fleet, tmp_path_factory: pytest.TempPathFactory
) -> None:
    fleet = postgres_fleet
    broker = servers.Redis(tmp_path_factory.mktemp("own"))
    fleet.broker = broker.url
    fleet.ingest(str(i) for i in range(1500))
    scorer_id = fleet.serve(batch=8, seconds=0.05)
    fleet.start("beat")
    fleet.workers(2)
    for _ in range(3):
        fleet.wait(fleet.lease_pids, "somebody at work")
        broker.kill()
        time.sleep(1.0)
        broker.start()
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)
    broker.kill()


def test_ingest_with_the_broker_down_succeeds_and_is_scored_later(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    working, fleet.broker = fleet.broker, f"redis://127.0.0.1:{servers.free_port()}/0"
    scorer_id = fleet.serve()
    fleet.ingest(str(i) for i in range(50))
    assert ring_all(fleet.engine, app_of(fleet, monkeypatch)) == 0
    fleet.broker = working
    fleet.workers(1)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def test_every_message_five_times_to_several_workers(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.ingest(str(i) for i in range(1000))
    scorer_id = fleet.serve(batch=8, seconds=0.02)
    app = app_of(fleet, monkeypatch)
    fleet.workers(3)
    for _ in range(15):
        app.send_task("score", args=[scorer_id], queue=queue_of(scorer_id))
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def test_the_broker_never_holds_more_than_a_message_per_worker(
    postgres_fleet: Fleet, redis: servers.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = postgres_fleet
    scorer_id = fleet.serve(batch=8, seconds=0.02)
    app = app_of(fleet, monkeypatch)
    fleet.start("beat")
    fleet.start("beat")
    fleet.workers(2)
    name, most = queue_of(scorer_id).name, 0
    over = threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.01):
            most = max(most, int(redis.client().llen(name)))

    watching = threading.Thread(target=watch)
    watching.start()
    for i in range(40):  # far faster than it can be scored, and rung for every time
        fleet.ingest(f"{i}-{j}" for j in range(50))
        ring_all(fleet.engine, app)
    fleet.wait_until_scored(scorer_id)
    over.set()
    watching.join()
    # two for two workers, and as many again for each who rings at the same moment: two schedulers, two processes of
    # two workers, and this test
    assert 0 < most <= 2 * 7
    fleet.check(scorer_id)


def test_ringing_again_and_again_adds_no_message(
    redis: servers.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURATION_BROKER_URL", redis.url)
    app = make_app()
    assert [ring(app, 7), ring(app, 7), ring(app, 7, workers=3), ring(app, 7, workers=3)] == [1, 0, 2, 0]
    assert redis.client().llen("score.7") == 3


def test_a_message_carries_a_number_and_nothing_else(
    postgres_fleet: Fleet, redis: servers.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = postgres_fleet
    secret = sample("a text that must not travel")
    fleet.ingest([secret.answer])
    scorer_id = fleet.serve()
    assert ring_all(fleet.engine, app_of(fleet, monkeypatch)) == 1
    (message,) = redis.client().lrange(queue_of(scorer_id).name, 0, -1)
    with Connection(fleet.broker) as connection:
        received = connection.SimpleQueue(queue_of(scorer_id)).get(timeout=PATIENCE)
    assert received.payload[:2] == [[scorer_id], {}]
    assert received.content_type == "application/json"
    assert b"travel" not in message


def test_a_worker_that_hears_nothing_ends_to_be_started_afresh(
    postgres_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = postgres_fleet
    monkeypatch.setenv("TEST_DEAF_AFTER", "2")
    scorer_id = fleet.serve()
    (node,) = fleet.workers(1)
    fleet.wait(lambda: "Started consuming" in node.log.read_text(), "the worker listening")
    app_of(fleet, monkeypatch).control.cancel_consumer(queue_of(scorer_id).name)
    fleet.wait(lambda: "Canceling queue" in node.log.read_text(), "the worker deaf")
    fleet.ingest(str(i) for i in range(20))
    node.process.wait(PATIENCE)
    assert "to be started afresh" in node.log.read_text()
    monkeypatch.delenv("TEST_DEAF_AFTER")
    fleet.workers(1)
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)


def test_on_rabbitmq_with_a_message_that_waits_for_the_first_worker(
    postgres_fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet = postgres_fleet
    address = servers.rabbitmq()
    if address is None:
        pytest.skip("no RabbitMQ answers on 127.0.0.1:5672")
    fleet.broker = address
    fleet.ingest(str(i) for i in range(600))
    scorer_id = fleet.serve(batch=8, seconds=0.05)
    with Connection(address) as connection:
        queue_of(scorer_id)(connection.channel()).delete()  # left by an earlier run
    assert ring(app_of(fleet, monkeypatch), scorer_id) == 1
    fleet.workers(2)
    fleet.wait_until_scored(scorer_id, 100)
    with Connection(address) as connection:
        queue_of(scorer_id)(connection.channel()).purge()
    fleet.wait_until_scored(scorer_id)
    fleet.check(scorer_id)
