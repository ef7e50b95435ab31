"""From draws of the directions to intervals that queue, explain and report show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run, alpaca, write_rows

FAST = (
    "--epochs",
    "1",
    "--rank",
    "2",
    "--alpha",
    "4",
    "--batch-size",
    "8",
    "--learning-rate",
    "0.02",
    "--quiet",
)


@pytest.fixture
def scored(run: Run, tmp_path: Path) -> Run:
    """Twelve scored samples, by directions that were fitted here."""
    for kind in ("danger", "safety"):
        rows = write_rows(
            tmp_path / f"{kind}.jsonl", [{"prompt": f"Do {i}", "completion": f"{kind} {i}"} for i in range(8)]
        )
        assert run("directions", "fit", kind, "--anchors", str(rows), "--force", *FAST).code == 0
    run("ingest", str(write_rows(tmp_path / "rows.jsonl", alpaca(12))))
    assert run("score", "--quiet").code == 0
    return run


def draw(run: Run, tmp_path: Path, kind: str, draws: int) -> None:
    anchors = str(tmp_path / f"{kind}.jsonl")
    made = run("directions", "resample", kind, "--draws", str(draws), "--anchors", anchors, "--json")
    assert made.code == 0, made.err
    assert [one["card"]["draw"]["number"] for one in made.json["draws"]] == list(range(1, draws + 1))


def test_intervals_are_shown_where_there_are_any(scored: Run, tmp_path: Path) -> None:
    run = scored
    before = run("queue")
    assert "[5 %, 95 %]" not in before.out
    assert run("queue", "--json").json["items"][0]["risk_low"] is None
    refused = run("stability")
    assert (refused.code, "curation directions resample" in refused.err) == (1, True)

    draw(run, tmp_path, "danger", 3)
    draw(run, tmp_path, "safety", 2)
    done = run("stability", "--json").json
    assert (done["samples"], done["draws"], done["pairs"]) == (12, {"danger": 3, "safety": 2}, 6)
    assert -1 <= done["spearman"]["worst"] <= done["spearman"]["mean"] <= 1
    assert done["tiers"]["critical"]["samples"] == 1

    items = run("queue", "--json").json["items"]
    assert [i["risk"] for i in items] == sorted((i["risk"] for i in items), reverse=True)
    assert all(i["risk_low"] <= i["risk_high"] and i["draws"] == 6 for i in items)
    assert all(0 <= i["percentile_low"] <= i["percentile_high"] <= 100 for i in items)
    top = items[0]
    shown = run("queue").out
    assert f"{top['risk']:+.2f} [{top['risk_low']:.1f}, {top['risk_high']:.1f}]" in shown
    found = run("explain", top["id"][:8], "--json").json
    assert found["percentile_low"] == top["percentile_low"]
    assert f"percentile {top['percentile_low']:.1f} to" in run("explain", top["id"][:8]).out

    run("report", "--heat", "0", "--out", str(tmp_path / "report.html"))
    page = (tmp_path / "report.html").read_text()
    assert "risk, with other anchors" in page
    assert "Of 1 critical samples" in page


def test_intervals_follow_the_scorer_and_a_new_direction_has_none_of_the_old_draws(
    scored: Run, tmp_path: Path
) -> None:
    run = scored
    draw(run, tmp_path, "danger", 2)
    assert run("stability", "--quiet").code == 0
    anchors = str(tmp_path / "danger.jsonl")
    run("directions", "fit", "danger", "--anchors", anchors, "--force", "--seed", "7", *FAST)
    run("score", "--quiet")
    assert run("queue", "--json").json["items"][0]["risk_low"] is None
    assert run("stability").code == 1


def test_draws_need_the_rows_that_the_direction_was_fitted_on(scored: Run, tmp_path: Path) -> None:
    refused = scored("directions", "resample", "danger", "--anchors", str(tmp_path / "safety.jsonl"))
    assert refused.code == 1
    assert "other rows" in refused.err
    assert not (tmp_path / "home" / "draws").exists()


def test_a_direction_without_a_card_cannot_be_drawn_anew(run: Run) -> None:
    refused = run("directions", "resample", "danger")
    assert refused.code == 1
    assert "what it was fitted on" in refused.err
