"""The commands of a fleet, as typed: scorers in and out of service, what is left, and what comes first."""

from __future__ import annotations

import platform
from pathlib import Path

import pytest

from curation.ledger import find_dataset, open_ledger, reading
from curation.ledger.fleet import show_worker
from curation.ledger.leases import Holder, claim, leased_samples
from tests.cli.conftest import Run, alpaca, write_rows
from tests.ledger.builders import pks_of, quarantine_sample


@pytest.fixture
def served(run: Run, tmp_path: Path) -> str:
    """The fingerprint of a scorer in service, with 12 samples to score in one dataset and 3 in another."""
    run("ingest", str(write_rows(tmp_path / "many.jsonl", alpaca(12))))
    run("ingest", str(write_rows(tmp_path / "few.jsonl", alpaca(3))))
    return run("scorers", "serve", "--json").json["scorer"]


def test_status_shows_what_is_left_for_whom(run: Run, served: str) -> None:
    told = run("status", "--json").json
    left = {b["dataset"]: (b["unscored"], b["leases"], b["quarantined"]) for b in told["backlogs"]}
    assert left == {"few": (3, 0, 0), "many": (12, 0, 0)}
    assert all(b["fingerprint"] == served and b["oldest_age"] >= 0 for b in told["backlogs"])
    assert told["workers"] == []
    shown = run("status")
    assert served[:12] in shown.out
    assert "curation worker" in shown.out


def test_status_says_when_it_will_be_done(run: Run, served: str, tmp_path: Path) -> None:
    engine = open_ledger(home=tmp_path / "home")
    show_worker(engine, "a@host", scorer_id=1, samples_per_second=3.0, device="cpu")
    show_worker(engine, "b@host", trouble="the model is not here")
    told = run("status", "--json").json
    assert [b["seconds_left"] for b in told["backlogs"]] == [5.0, 5.0]  # 15 samples at 3 a second
    shown = run("status").out
    assert "5 s" in shown
    assert "the model is not here" in shown


def test_without_a_scorer_in_service_status_says_how_to_get_one(run: Run) -> None:
    assert "curation scorers serve" in run("status").out


def test_a_health_check_asks_for_a_worker_of_this_machine(run: Run, tmp_path: Path) -> None:
    engine = open_ledger(home=tmp_path / "home")
    show_worker(engine, "worker-1@elsewhere")
    assert run("status", "--alive").code == 1
    show_worker(engine, f"worker-1@{platform.node()}")
    told = run("status", "--alive")
    assert (told.code, told.out) == (0, "")


def test_scoring_by_hand_empties_the_backlog_too(run: Run, served: str) -> None:
    run("score", "--dataset", "many")
    left = {b["dataset"]: b["unscored"] for b in run("status", "--json").json["backlogs"]}
    assert left == {"few": 3, "many": 0}


def test_front_changes_what_is_claimed_next(run: Run, served: str, tmp_path: Path) -> None:
    assert "scored first" in run("front", "--dataset", "few", "--newest", "2").out
    engine = open_ledger(home=tmp_path / "home")
    lease = claim(engine, 1, Holder("h", 1), 60.0)
    assert lease is not None
    with reading(engine) as conn:
        assert [s.sample.answer.split()[0] for s in leased_samples(conn, lease)] == ["1", "2"]


def test_a_retired_scorer_keeps_its_scores_and_leaves_the_service(run: Run, served: str) -> None:
    run("score", "--dataset", "few")
    assert run("scorers", "list", "--json").json[0]["since"] is not None
    assert "retired" in run("scorers", "retire", served[:8]).out
    assert run("status", "--json").json["backlogs"] == []
    assert run("scorers", "list", "--json").json[0]["since"] is None
    assert len(run("queue", "--dataset", "few", "--json").json["items"]) == 3
    again = run("scorers", "retire", served[:8])
    assert again.code == 1
    assert "not in service" in again.err


def test_retry_puts_quarantined_samples_back(run: Run, served: str, tmp_path: Path) -> None:
    engine = open_ledger(home=tmp_path / "home")
    with reading(engine) as conn:
        dataset_id = find_dataset(conn, "few").id
    quarantine_sample(
        engine, 1, pks_of(engine, dataset_id)[1], "its worker died 2 times in a row while scoring it"
    )
    assert run("queue", "--dataset", "few", "--json").json["items"][0]["state"] == "quarantined"
    assert "1 samples of few will be tried again" in run("retry", "--dataset", "few").out
    assert run("score", "--dataset", "few", "--json").json["scored"] == 3


def test_putting_a_scorer_in_service_twice_changes_nothing(run: Run, served: str) -> None:
    before = run("scorers", "list", "--json").json
    assert run("scorers", "serve", "--json").json["scorer"] == served
    assert run("scorers", "list", "--json").json == before


@pytest.mark.parametrize("command", ["worker", "beat"])
def test_without_a_broker_the_fleet_says_what_to_set(run: Run, command: str) -> None:
    ran = run(command)
    assert ran.code == 1
    assert "CURATION_BROKER_URL" in ran.err


def test_ingest_succeeds_with_a_broker_that_is_down(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURATION_BROKER_URL", "redis://127.0.0.1:1/0")
    run("scorers", "serve", "--json")
    ran = run("ingest", str(write_rows(tmp_path / "rows.jsonl", alpaca(4))))
    assert ran.code == 0, ran.err
    assert "4 new samples" in ran.out
