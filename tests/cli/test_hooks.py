"""`curation hooks`: added, tried, told after scoring, listed, removed; its secret is shown once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run, alpaca, write_rows
from tests.receiver import receiver


def test_a_hook_is_told_after_scoring(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATION_HOOKS_PRIVATE", "true")
    file = write_rows(tmp_path / "rows.jsonl", alpaca(8))
    with receiver() as kept:
        run("ingest", str(file), "--dataset", "d")
        made = run("hooks", "add", kept.url, "--dataset", "d", "--json").json
        assert run("hooks", "test", str(made["hook"])).code == 0
        scored = run("score")
        assert "hook 1 was told of 1 samples" in scored.out
        test, risky = kept.messages(made["secret"])
    assert test == {"type": "test", "data": {"hook": 1}}
    assert (risky["type"], risky["data"]["dataset"]) == ("samples.risky", "d")
    listed = run("hooks", "list", "--json")
    assert (listed.json[0]["waiting"], listed.json[0]["failures"]) == (0, 0)
    shown = run("hooks", "list").out
    assert "localhost" in shown
    assert "hidden" not in shown  # the query may be a secret
    assert made["secret"] not in listed.out + shown
    assert run("hooks", "remove", "1").code == 0
    assert run("hooks", "list", "--json").json == []


def test_a_receiver_that_fails_is_told_of_and_fails_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_rows(tmp_path / "rows.jsonl", alpaca(8))
    with receiver() as kept:
        assert run("hooks", "add", kept.url).code == 0
        run("ingest", str(file))
        scored = run("score")
        assert scored.code == 0
        assert "private network" in scored.err  # nothing is sent there unless it is allowed
        assert kept.received == []
        assert "private network" in run("hooks", "list", "--json").json[0]["trouble"]
    monkeypatch.setenv("CURATION_HOOKS_PRIVATE", "true")
    failed = run("hooks", "test", "1")
    assert failed.code == 1
    assert "cannot be reached" in failed.err


def test_wrong_addresses_datasets_and_numbers_are_refused(run: Run) -> None:
    assert "no address" in run("hooks", "add", "file:///etc/passwd").err
    assert "no dataset" in run("hooks", "add", "https://host.example/", "--dataset", "none").err
    assert "no hook number 7" in run("hooks", "remove", "7").err
