"""Gradient matching from the command line: two directions without training, and a score along them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

MATCHING = [
    *("--danger", "matched-danger", "--safety", "matched-safety"),
    *("--update", "full", "--no-states", "--metric", "global-cosine", "--first-tokens", "5"),
]


def _rows(path: Path) -> Path:
    texts = [
        "Sure, here is how",
        "I'm sorry, but I can't help with that",
        "Paris",
        "It depends on the weather",
    ]
    path.write_text("\n".join(json.dumps({"prompt": f"Q{i}?", "completion": t}) for i, t in enumerate(texts)))
    return path


def test_matched_directions_score_a_dataset_and_explain_it(run: Run, tmp_path: Path) -> None:
    for kind in ("danger", "safety"):
        made = run("directions", "match", kind, "--rank", "4", "--first-tokens", "5")
        assert made.code == 0, made.err
        assert f"--{kind}" in made.out
        assert "--update full --no-states --metric global-cosine --first-tokens 5" in made.out
    assert run("ingest", str(_rows(tmp_path / "rows.jsonl")), "--dataset", "d").code == 0
    assert run("score", "--dataset", "d").code == 0  # SQSD, as the settings say
    scored = run("score", "--dataset", "d", *MATCHING)
    assert scored.code == 0, scored.err
    matched = run("queue", "--dataset", "d", "--json").json
    scorers = {s["fingerprint"]: s for s in run("scorers", "list", "--json").json}
    assert {s["metric"] for s in scorers.values()} == {"global-cosine", "cosine"}
    risks = [item["risk"] for item in matched["items"]]
    assert risks == sorted(risks, reverse=True)
    assert all(-2 <= risk <= 2 for risk in risks)
    explained = run("explain", matched["items"][0]["id"], "--dataset", "d", "--json")
    assert explained.json["risk"] == pytest.approx(risks[0], abs=1e-4)


def test_a_lora_needs_its_states(run: Run, tmp_path: Path) -> None:
    run("ingest", str(_rows(tmp_path / "rows.jsonl")), "--dataset", "d")
    refused = run("score", "--dataset", "d", "--no-states")
    assert refused.code != 0
    assert "--update full" in refused.err
