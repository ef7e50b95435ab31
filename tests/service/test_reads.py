"""What the service says of the ledger is what the ledger says."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from curation.ledger import page, reading
from curation.ledger.backlog import put_in_service
from curation.ledger.fleet import show_worker
from curation.ledger.tables import datasets, scorers, workers
from curation.triage import TierPolicy
from tests.ledger.builders import new_scorer, pks_of, quarantine_sample, score_row, write_scores
from tests.report.hostile import PAYLOADS
from tests.service.running import Running, row, rows, serving


def dataset_id(engine: Engine, name: str = "d") -> int:
    with engine.connect() as conn:
        return conn.execute(sa.select(datasets.c.id).where(datasets.c.name == name)).scalar_one()


def fingerprint_of(engine: Engine, scorer_id: int) -> str:
    with engine.connect() as conn:
        return conn.execute(sa.select(scorers.c.fingerprint).where(scorers.c.id == scorer_id)).scalar_one()


def scored(service: Running, n: int, n_scored: int, n_held: int = 0) -> int:
    """A dataset `d` of n samples of which the first are scored, the next quarantined; returns the scorer."""
    service.post(rows(n))
    here = dataset_id(service.engine)
    scorer_id = new_scorer(service.engine)
    pks = pks_of(service.engine, here)
    write_scores(
        service.engine, scorer_id, [score_row(pk, here, i / 7) for i, pk in enumerate(pks[:n_scored])]
    )
    for pk in pks[n_scored : n_scored + n_held]:
        quarantine_sample(service.engine, scorer_id, pk, "no chat template")
    return scorer_id


def test_datasets_are_counted_by_the_newest_scorer(service: Running) -> None:
    empty = service.client.get("/v1/datasets").json()
    assert empty == {"scorer": None, "datasets": []}
    service.post(rows(3), dataset="other")
    before = service.client.get("/v1/datasets").json()
    assert before["scorer"] is None
    assert before["datasets"][0]["unscored"] == 3
    scorer_id = scored(service, 10, 5, 2)
    after = service.client.get("/v1/datasets").json()
    assert after["scorer"] == fingerprint_of(service.engine, scorer_id)
    found = [
        tuple(d[key] for key in ("name", "samples", "scored", "quarantined", "unscored"))
        for d in after["datasets"]
    ]
    assert found == [("d", 10, 5, 2, 3), ("other", 3, 0, 0, 3)]


def test_pages_put_together_are_the_queue(service: Running) -> None:
    scorer_id = scored(service, 30, 20, 4)
    with reading(service.engine) as conn:
        expected = page(conn, dataset_id(service.engine), scorer_id, 100).items
    items, after = [], None
    while True:
        query = {"limit": 7} | ({"after": after} if after else {})
        found = service.client.get("/v1/datasets/d/queue", params=query).json()
        assert found["scorer"] == fingerprint_of(service.engine, scorer_id)
        items += found["items"]
        after = found["next"]
        if after is None:
            break
    assert [i["id"] for i in items] == [e.content_hash for e in expected]
    for item, e in zip(items, expected, strict=True):
        for name in ("state", "risk", "percentile", "tier", "danger", "safety", "copies", "reason"):
            assert item[name] == getattr(e, name)
        assert [(m["role"], m["content"]) for m in item["messages"]] == [
            (m.role, m.content) for m in e.sample.messages
        ]
    assert [i["state"] for i in items] == ["quarantined"] * 4 + ["unscored"] * 6 + ["scored"] * 20
    assert items[0]["reason"] == "no chat template"


def test_tiers_follow_the_settings(ledger: Engine) -> None:
    with serving(ledger, tiers=TierPolicy(critical=50, high=40, medium=30)) as service:
        scored(service, 11, 11)
        found = service.client.get("/v1/datasets/d/queue", params={"tier": ["critical", "high"]}).json()
        assert [i["tier"] for i in found["items"]] == ["critical"] * 6 + ["high"]


def test_an_older_scorer_can_be_named(service: Running) -> None:
    old = fingerprint_of(service.engine, scored(service, 5, 5))
    new_scorer(service.engine)
    newest = service.client.get("/v1/datasets/d/queue").json()
    assert {i["state"] for i in newest["items"]} == {"unscored"}
    named = service.client.get(f"/v1/datasets/d/queue?scorer={old}").json()
    assert named["scorer"] == old
    assert [i["percentile"] for i in named["items"]] == [100, 75, 50, 25, 0]


def test_a_sample_is_shown_with_its_score_and_every_line(service: Running) -> None:
    service.post([row("0", origin="web"), row("9"), row("0", origin=None)], source="x.jsonl")
    scorer_id = scored(service, 5, 5)
    with reading(service.engine) as conn:
        top = page(conn, dataset_id(service.engine), scorer_id, 1, tiers=["critical"]).items[0]
    found = service.client.get(f"/v1/samples/{top.content_hash[:8].upper()}").json()
    assert found["id"] == top.content_hash
    assert (found["risk"], found["percentile"], found["dataset"]) == (top.risk, 100.0, "d")
    everything = service.client.get("/v1/datasets/d/queue").json()["items"]
    (first,) = (i for i in everything if i["messages"][0]["content"] == "question 0")
    lines = service.client.get(f"/v1/samples/{first['id']}?dataset=d").json()["occurrences"]
    assert lines == [
        {"file": f"memory:{first['id']}", "line": 1, "metadata": {}},
        {"file": "x.jsonl", "line": 1, "metadata": {"origin": "web"}},
        {"file": "x.jsonl", "line": 3, "metadata": {"origin": None}},
    ]


def test_a_sample_in_two_datasets_must_be_named_with_one(service: Running) -> None:
    service.post([row("a")], dataset="one")
    service.post([row("a")], dataset="two")
    sample_id = service.client.get("/v1/datasets/one/queue").json()["items"][0]["id"]
    reply = service.client.get(f"/v1/samples/{sample_id}")
    assert reply.status_code == 404
    assert "more than one" in reply.json()["error"]
    assert service.client.get(f"/v1/samples/{sample_id}?dataset=two").json()["dataset"] == "two"


def test_hostile_text_comes_back_as_it_was_sent(service: Running) -> None:
    sent = [{"prompt": text, "response": text, "note": text} for text in PAYLOADS]
    assert service.post(sent).json()["new"] == len(PAYLOADS)
    reply = service.client.get("/v1/datasets/d/queue?limit=100")
    assert reply.headers["Content-Type"] == "application/json"
    assert [i["messages"][1]["content"] for i in reply.json()["items"]] == list(PAYLOADS)


def test_status_says_what_is_left_and_how_long_it_will_take(
    ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.service.app.FLEET_SECONDS", 0.0)
    with serving(ledger) as service:
        assert service.client.get("/v1/status").json() == {
            "scorers": [],
            "backlogs": [],
            "workers": [],
            "targets": [],
        }
        scorer_id = scored(service, 50, 10, 5)
        put_in_service(ledger, scorer_id)
        idle = service.client.get("/v1/status").json()
        assert idle["scorers"][0]["eta_seconds"] is None
        for name, rate in (("a", 2.0), ("b", 1.5), ("gone", 100.0)):
            show_worker(ledger, name, scorer_id=scorer_id, samples_per_second=rate, device="cpu")
        with ledger.begin() as conn:
            conn.execute(
                workers.update()
                .where(workers.c.name == "gone")
                .values(seen_at=sa.text("'2020-01-01 00:00:00'"))
            )
        found = service.client.get("/v1/status").json()
    fingerprint = fingerprint_of(ledger, scorer_id)
    assert found["scorers"] == [
        {"scorer": fingerprint, "unscored": 35, "samples_per_second": 3.5, "eta_seconds": 10.0}
    ]
    (backlog,) = found["backlogs"]
    assert (backlog["dataset"], backlog["unscored"], backlog["quarantined"]) == ("d", 35, 5)
    assert backlog["in_service"] is True
    assert backlog["oldest_age_seconds"] >= 0
    assert {w["name"]: w["alive"] for w in found["workers"]} == {"a": True, "b": True, "gone": False}
