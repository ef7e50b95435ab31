"""Alive, ready and counted: what those who run the service are told is so."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from curation.ledger import open_ledger, reading
from curation.ledger.backlog import put_in_service
from curation.ledger.fleet import backlogs, list_workers, show_worker
from curation.ledger.leases import Holder, claim
from tests import servers
from tests.ledger.builders import new_scorer, quarantine_sample
from tests.service.running import Running, rows, serving

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is remembered from one request to the next."""
    monkeypatch.setattr("curation.service.app.FLEET_SECONDS", 0.0)
    monkeypatch.setattr("curation.service.app.READY_SECONDS", 0.0)


def metrics(service: Running) -> Series:
    reply = service.client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(reply.text)
        for sample in family.samples
    }


@pytest.mark.usefixtures("fresh")
def test_the_backlog_is_what_the_ledger_says(ledger: Engine) -> None:
    with serving(ledger) as service:
        for name in ('awkward "name" \\ {é}', "d"):
            service.post(rows(300), dataset=name)
        scorer_id = new_scorer(ledger)
        put_in_service(ledger, scorer_id)
        for seconds in (60.0, -1.0):
            assert claim(ledger, scorer_id, Holder("host", 1), seconds) is not None
        quarantine_sample(ledger, scorer_id, 300, "no template")
        show_worker(ledger, "a", scorer_id=scorer_id, samples_per_second=2.5)
        found = metrics(service)
        with reading(ledger) as conn:
            known, alive = backlogs(conn), [w for w in list_workers(conn) if w.alive]
    assert len(known) == 2
    assert sum(b.overdue for b in known) == sum(b.leases for b in known) == 1
    for b in known:
        labels = frozenset({"dataset": b.dataset, "scorer": b.fingerprint[:12]}.items())
        assert found["curation_unscored_samples", labels] == b.unscored
        assert found["curation_quarantined_samples", labels] == b.quarantined
        assert found["curation_leases", labels] == b.leases
        assert found["curation_overdue_leases", labels] == b.overdue
        age = found["curation_oldest_unscored_age_seconds", labels]
        assert 0 <= age <= (b.oldest_age or 0)
    assert found["curation_workers_alive", frozenset()] == len(alive) == 1
    scorer = frozenset({"scorer": known[0].fingerprint[:12]}.items())
    assert found["curation_samples_per_second", scorer] == 2.5


def test_the_ledger_is_not_asked_at_every_scrape(sqlite: Engine) -> None:
    with serving(sqlite) as service:
        asked: list[str] = []
        sa.event.listen(sqlite, "before_cursor_execute", lambda *args: asked.append(args[2]))
        for _ in range(3):
            metrics(service)
            service.client.get("/v1/status")
    assert sum("FROM workers" in statement for statement in asked) == 1


def test_requests_are_counted_by_route_and_never_by_address(service: Running) -> None:
    for i in range(5):
        service.client.get(f"/v1/datasets/{i}/queue")
        service.client.get(f"/nothing/{i}")
        service.client.request(f"M{i}", "/healthz")
    service.post(rows(1))
    found = metrics(service)
    counted = {
        tuple(sorted(dict(labels).items())): n
        for (name, labels), n in found.items()
        if name == "curation_http_requests_total"
    }
    post = (("method", "POST"), ("route", "/v1/datasets/{name}/samples"), ("status", "200"))
    assert counted == {
        (("method", "GET"), ("route", "/v1/datasets/{name}/queue"), ("status", "404")): 5,
        (("method", "GET"), ("route", "(none)"), ("status", "404")): 5,
        (("method", "other"), ("route", "/healthz"), ("status", "405")): 5,
        post: 1,
    }
    times = frozenset({"method": "POST", "route": "/v1/datasets/{name}/samples"}.items())
    assert found["curation_http_request_seconds_count", times] == 1
    assert found["curation_http_request_seconds_sum", times] > 0


def test_ready_while_the_ledger_can_be_used(service: Running) -> None:
    assert service.client.get("/healthz", headers={"Authorization": ""}).json() == {"status": "ok"}
    assert service.client.get("/readyz", headers={"Authorization": ""}).json() == {"status": "ok"}


@pytest.mark.usefixtures("fresh")
def test_not_ready_with_the_tables_of_another_version(ledger: Engine) -> None:
    with serving(ledger) as service:
        with ledger.begin() as conn:
            conn.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
        reply = service.client.get("/readyz")
        assert reply.status_code == 503
        assert "this version's tables" in reply.json()["error"]
        assert service.client.get("/healthz").status_code == 200


@pytest.mark.usefixtures("fresh")
def test_not_ready_without_the_file(tmp_path: Path) -> None:
    engine = open_ledger(home=tmp_path)
    with serving(engine) as service:
        engine.dispose()
        for file in tmp_path.glob("ledger.db*"):
            file.unlink()
        tmp_path.joinpath("ledger.db").mkdir()
        assert service.client.get("/readyz").status_code == 503
        reply = service.client.get("/v1/datasets")
        assert reply.status_code == 503
        assert str(tmp_path) not in reply.text


@pytest.mark.slow
@pytest.mark.usefixtures("fresh")
def test_a_database_that_goes_is_an_outage_and_one_that_comes_back_is_none(
    postgres_server: str, caplog: pytest.LogCaptureFixture
) -> None:
    from curation.ledger import connect, upgrade

    with servers.database(postgres_server) as url:
        engine = connect(url)
        upgrade(engine)
        with serving(engine) as service:
            admin = sa.create_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT")
            name = engine.url.database
            with admin.connect() as conn:
                conn.exec_driver_sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")
                conn.exec_driver_sql(
                    f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
                )
            assert service.client.get("/healthz").status_code == 200
            assert service.client.get("/readyz").status_code == 503
            for reply in (
                service.client.get("/v1/datasets"),
                service.client.get("/metrics"),
                service.post(rows(2)),
            ):
                assert reply.status_code == 503
                assert reply.json()["error"] == "the ledger's database did not answer"
                assert str(name) not in reply.text
            assert "the ledger failed" in caplog.text
            with admin.connect() as conn:
                conn.exec_driver_sql(f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
            assert service.client.get("/readyz").status_code == 200
            assert service.post(rows(2)).json()["new"] == 2
            admin.dispose()
        engine.dispose()


def test_what_is_no_http_at_all_harms_nobody(sqlite: Engine) -> None:
    with serving(sqlite) as service:
        for sent in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 1000, b"GET"):
            with socket.create_connection(("127.0.0.1", service.port)) as raw:
                raw.sendall(sent)
        assert service.client.get("/healthz").status_code == 200
