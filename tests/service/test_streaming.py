"""A body of any length takes the memory of a short one, and stops for a database that is slower."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy import Engine

from curation.ledger import writing
from curation.ledger.tables import datasets
from tests.service.process import served
from tests.service.running import LINES, PATIENCE, Running, ndjson, row, rows, serving, wait_for
from tests.service.test_ingest import head, n_samples

MIB = 2**20


@pytest.mark.slow
def test_a_hundred_megabytes_are_taken_in_constant_memory(tmp_path: Path) -> None:
    lines = ndjson(row(f"{i} " + "x" * 1000) for i in range(1000))
    peak = threading.Event(), [0]

    def long(size: int) -> Iterator[bytes]:
        for _ in range(size // len(lines)):
            yield lines

    def watch(process: psutil.Process) -> None:
        while not peak[0].wait(0.02):
            peak[1][0] = max(peak[1][0], process.memory_info().rss)

    with served(tmp_path) as process, httpx.Client(timeout=300) as client:
        address, headers = f"{process.url}/v1/datasets/d/samples", process.headers | LINES
        client.post(address, content=long(10 * MIB), headers=headers)
        before = psutil.Process(process.pid).memory_info().rss
        watcher = threading.Thread(target=watch, args=(psutil.Process(process.pid),))
        watcher.start()
        reply = client.post(address, content=long(100 * MIB), headers=headers)
        peak[0].set()
        watcher.join()
        assert reply.json()["rows"] == reply.json()["unchanged"] > 40_000
    assert before > 20 * MIB
    assert peak[1][0] - before < 30 * MIB


def test_a_sender_waits_for_a_database_that_does_not_keep_up(service: Running) -> None:
    service.post(rows(1))
    line = ndjson([row("x" * 10_000)])
    sent = [0]

    def endless() -> Iterator[bytes]:
        for _ in range(100 * MIB // len(line)):
            sent[0] += len(line)
            yield line

    with ThreadPoolExecutor(1) as pool:
        with writing(service.engine) as conn:
            conn.execute(datasets.update().values(name="d"))  # nobody else can write meanwhile
            reply = pool.submit(
                service.client.post, "/v1/datasets/d/samples", content=endless(), headers=LINES
            )
            while True:
                before = sent[0]
                time.sleep(1)
                if 0 < before == sent[0]:
                    break
            assert sent[0] < 40 * MIB
        assert reply.result().json()["rows"] == 100 * MIB // len(line)


def test_stopping_does_not_wait_for_a_sender_for_ever(ledger: Engine) -> None:
    with serving(ledger) as service, socket.create_connection(("127.0.0.1", service.port)) as raw:
        sent = ndjson(rows(2500))
        raw.sendall(head(service, f"Content-Length: {len(sent) + 1000}") + sent)
        wait_for(lambda: n_samples(ledger) == 2000)
        service.server.should_exit = True
        service.thread.join(PATIENCE)
        assert not service.thread.is_alive()
    assert n_samples(ledger) == 2000


def test_slow_ingests_leave_the_rest_of_the_service_alone(sqlite: Engine) -> None:
    with serving(sqlite) as service:
        service.post(rows(1))
        with writing(sqlite) as conn, ThreadPoolExecutor(6) as pool:
            conn.execute(datasets.update().values(name="d"))
            waiting = [pool.submit(service.post, rows(5), f"d{i}") for i in range(6)]
            wait_for(lambda: service.app.state.service.ingests.borrowed_tokens == 6)
            assert service.client.get("/healthz").status_code == 200
            assert service.client.get("/v1/datasets/d/queue").status_code == 200
            conn.commit()
            assert all(w.result().status_code == 200 for w in waiting)
