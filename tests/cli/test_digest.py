"""`curation digest`: printed, written as a page, sent to the hooks without text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run, alpaca, write_rows
from tests.receiver import receiver


def test_a_digest_of_a_day(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATION_HOOKS_PRIVATE", "true")
    run("ingest", str(write_rows(tmp_path / "rows.jsonl", alpaca(8))), "--dataset", "d")
    run("score")
    page = tmp_path / "day.html"
    told = run("digest", "--html", str(page))
    assert told.code == 0, told.err
    assert "new critical samples: d, 1" in told.out
    assert page.read_text().startswith("<!doctype html>")
    found = run("digest", "--since", "7d", "--json").json
    assert found["datasets"][0]["new"] == {"ingested": 8, "scored": 8, "quarantined": 0, "critical": 1}
    assert found["datasets"][0]["critical"][0]["prompt"].startswith("Say ")

    assert "no hook" in run("digest", "--send").err
    with receiver() as kept:
        secret = run("hooks", "add", kept.url, "--json").json["secret"]
        assert run("digest", "--send").code == 0
        kinds = [message["type"] for message in kept.messages(secret)]
        assert kinds == ["digest", "samples.risky"]
        assert b"Say" not in b"".join(body for _, body in kept.received)
        kept.answers = [500]
        failed = run("digest", "--send")
        assert failed.code == 1
        assert "does not have it yet: the receiver answered 500" in failed.err
        assert run("hooks", "list", "--json").json[0]["waiting"] == 1


def test_a_hook_for_one_dataset_hears_of_that_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURATION_HOOKS_PRIVATE", "true")
    file = str(write_rows(tmp_path / "rows.jsonl", alpaca(2)))
    for name in ("mine", "theirs"):
        run("ingest", file, "--dataset", name)
    with receiver() as kept:
        secret = run("hooks", "add", kept.url, "--dataset", "mine", "--json").json["secret"]
        assert run("digest", "--send").code == 0
        (message,) = kept.messages(secret)
    assert [one["dataset"] for one in message["data"]["datasets"]] == ["mine"]


@pytest.mark.parametrize("text", ["", "24", "0h", "-1d", "1y", "1e3h"])
def test_what_is_no_length_of_time_is_refused(run: Run, text: str) -> None:
    assert run("digest", f"--since={text}").code == 1
