"""From decisions to an export that verifies, as typed."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from curation.ledger import open_ledger
from tests.cli.conftest import Ran, Run, write_rows
from tests.gate.builders import SCORER, House
from tests.ledger.builders import sample


@pytest.fixture
def house(run: Run) -> House:
    """Eight scored samples in the ledger that the commands open; t0 is the riskiest."""
    engine: Engine = open_ledger(home=Path(os.environ["CURATION_HOME"]))
    house = House(engine)
    texts = [f"t{i}" for i in range(8)]
    house.write(dict(enumerate(texts, start=1)))
    house.score({text: float(8 - i) for i, text in enumerate(texts)})
    return house


def id_of(text: str) -> str:
    return sample(text).id[:10]


def policy(run: Run) -> str:
    Path("policy.toml").write_text(run("policy", "init").out)
    return "policy.toml"


def test_from_decisions_to_an_export_that_verifies(run: Run, house: House) -> None:
    file = policy(run)
    assert SCORER[:12] in Path(file).read_text()
    refused = run("export", "--policy", file)
    assert (refused.code, "no approval that stands: 8" in refused.err) == (1, True)
    assert not Path("curation-export").exists()
    for text in ("t0", "t1", "t2"):
        assert run("decide", id_of(text), "approve", "--by", "ada").code == 0
    assert run("decide", id_of("t0"), "reject", "--reason", "names a person", "--by", "bob").code == 0
    checked = run("policy", "check", file)
    assert "2 of 8 lines leave" in checked.out
    assert "low (the rest): leave once approved" in checked.out
    made = run("export", "--policy", file, "--json").json
    assert made["counts"]["held"] == {"rejected": 1, "undecided": 5}
    assert run("verify", "curation-export").out.startswith("ok  2 rows")
    told = run("history", id_of("t1"), "--json").json
    assert [event["kind"] for event in told["events"]] == ["seen", "scored", "decided", "exported"]
    assert told["events"][-1]["manifest_sha256"] == made["manifest_sha256"]
    shown = run("history", id_of("t0")).out
    assert "reject by bob: names a person" in shown
    assert "export" not in shown.replace("exported", "")
    assert run("export", "--policy", file).code == 1


def test_every_change_after_sealing_ends_in_exit_code_1(run: Run, house: House) -> None:
    house.decide("approve", *(f"t{i}" for i in range(8)))
    run("keys", "new", "key")
    made = run("export", "--policy", policy(run), "--out", "out", "--key", "key", "--format", "sharegpt")
    assert made.code == 0, made.err
    assert "signed" in made.out
    assert "the signature is right" in run("verify", "out", "--public-key", "key.pub").out
    assert "not checked" in run("verify", "out").out
    data = Path("out/data-00000.jsonl")
    data.write_text(data.read_text().replace("answer t4", "answer evil"))
    ran = run("verify", "out")
    assert ran.code == 1
    assert "changed   row 5" in ran.out
    found = run("verify", "out", "--json")
    assert (found.code, found.json["ok"]) == (1, False)
    assert {"kind": "changed", "of": "row", "what": "5"} in found.json["findings"]
    run("keys", "new", "other")
    assert run("verify", "out", "--public-key", "other.pub").code == 1


def rows_of_decisions(**changes: Any) -> list[dict[str, Any] | str]:
    when = "2026-03-14T12:00:00Z"
    verdicts = {"t0": "reject", "t1": "reject", "t2": "approve", "t3": "approve"}
    base = [
        {"id": id_of(t), "verdict": v, "reviewer": "ada", "decided_at": when} for t, v in verdicts.items()
    ]
    other = {
        "id": id_of("t1"),
        "verdict": "approve",
        "reviewer": "bob",
        "decided_at": when,
        "reason": "[red]fine",
    }
    return [*base, other | changes]


def test_decisions_are_read_from_a_file_once(run: Run, house: House, tmp_path: Path) -> None:
    file = str(write_rows(tmp_path / "decisions.jsonl", rows_of_decisions()))
    assert run("decide", "--from", file, "--json").json == {"dataset": "d", "read": 5, "new": 5, "known": 0}
    assert "0 new decisions, 5 known already" in run("decide", "--from", file).out
    bad = str(write_rows(tmp_path / "bad.jsonl", rows_of_decisions(verdict="perhaps")))
    ran = run("decide", "--from", bad)
    assert (ran.code, "line 5: verdict" in ran.err) == (1, True)
    listed = run("conflicts", "--json", "--decided-by", "majority").json
    assert (listed["conflicts"], listed["items"][0]["stands"]) == (1, "undecided")
    assert listed["items"][0]["lines"] == ["train.jsonl:2"]
    shown = run("conflicts").out
    assert "bob ([red]fine)" in shown
    assert "rejected" in shown


def test_stats_and_budget_say_how_much_they_rest_on(run: Run, house: House, tmp_path: Path) -> None:
    assert run("budget").code == 1
    run("decide", "--from", str(write_rows(tmp_path / "decisions.jsonl", rows_of_decisions())))
    stats = run("stats", "--json").json
    assert (stats["approved"], stats["rejected"], stats["undecided"], stats["conflicts"]) == (2, 2, 4, 1)
    assert stats["precision"][-1]["rate"] == pytest.approx(
        {"value": 0.5, "low": 0.15, "high": 0.85}, abs=0.01
    )
    assert "alpha" in run("stats").out
    ran = run("budget", "--plot", "budget.svg")
    assert "Nothing was decided below row 4 of 8" in ran.out
    assert Path("budget.svg").read_text().startswith("<?xml")
    made = run("budget", "--catch", "0.5", "--json").json
    assert [one["share"] for one in made["needed"]] == [0.5]
    assert "Reviewed so far" in report(run)


def report(run: Run) -> str:
    run("report", "--heat", "0", "--out", "report.html")
    return Path("report.html").read_text()


def refused(ran: Ran, words: str) -> bool:
    return ran.code == 1 and words in ran.err and "next:" in ran.err


def test_bad_input_is_refused_in_words(run: Run, house: House) -> None:
    house.decide("approve", "t0")
    assert refused(run("export", "--policy", "none.toml"), "policy init")
    Path("p.toml").write_text('scorer = "fedcba"')
    assert refused(run("export", "--policy", "p.toml"), "policy's scorer is not in the ledger")
    Path("p.toml").write_text(f'scorer = "{SCORER}"\nrules = {{ urgent = "pass" }}')
    assert refused(run("policy", "check", "p.toml"), "rules.urgent")
    Path("p.toml").write_text(f'scorer = "{SCORER}"\n[datasets.D]\nrules = {{ low = "pass" }}')
    assert refused(run("export", "--policy", "p.toml"), "dataset 'D'")
    assert run("export", "--policy", policy(run), "--format", "pdf").code == 2
    assert refused(run("decide"), "what is decided")
    assert refused(run("decide", "abcdef12", "approve"), "no sample's id")
    assert refused(run("decide", id_of("t0"), "approve", "--from", "x.csv"), "its own ids")
    assert refused(run("decide", id_of("t0"), "approve", "--by", ""), "reviewer's name")
    assert refused(run("verify", "nowhere"), "cannot be read")
    assert refused(run("history", "abcdef12"), "no sample's id")
    assert list(Path().glob("*export*")) == []


def test_every_policy_that_was_used_is_kept(run: Run, house: House) -> None:
    house.decide("approve", "t0")
    run("export", "--policy", policy(run), "--out", "one")
    Path("p.toml").write_text(f'scorer = "{SCORER}"\ndecided_by = "last"')
    run("export", "--policy", "p.toml", "--out", "two")
    listed = run("policy", "list").json
    assert [one["body"]["decided_by"] for one in listed] == ["any-reject", "last"]
    sealed = json.loads(Path("two/manifest.json").read_text())["policy"]["sha256"]
    assert listed[1]["sha256"] == sealed


def test_help_of_every_command_teaches_with_an_example(run: Run) -> None:
    commands = (
        "decide",
        "conflicts",
        "policy init",
        "policy check",
        "export",
        "verify",
        "stats",
        "budget",
        "history",
    )
    for command in commands:
        assert "Example" in run(*command.split(), "--help").out, command
