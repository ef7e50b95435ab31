"""`curation evaluate` and `curation study` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.study import results
from benchmarks.study.plan import read_plan
from curation.evaluate.judge import Judge
from tests.cli.conftest import Run, alpaca, write_rows
from tests.sqsd.tiny import save_tiny


@pytest.fixture
def prompts(tmp_path: Path) -> str:
    kinds = ("harmful", "harmful", "harmful", "harmless")
    rows = [{"prompt": f"Ask {i}?", "kind": kind} for i, kind in enumerate(kinds)]
    return str(write_rows(tmp_path / "prompts.jsonl", list(rows)))


@pytest.fixture
def utility(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "utility.jsonl", alpaca(3)))


def test_a_model_compared_with_itself_has_not_changed(
    run: Run, tmp_path: Path, prompts: str, utility: str
) -> None:
    model = str(tmp_path / "model")
    options = ("--prompts", prompts, "--utility", utility, "--new-tokens", "3", "--json")
    found = run("evaluate", "--model", model, "--start", model, *options)
    assert found.code == 0, found.err
    summary = found.json["summary"]
    for key in ("margin_change", "refused_change", "harmless_margin_change", "utility_loss_change"):
        assert summary[key]["mean"] == summary[key]["low"] == summary[key]["high"] == 0
    assert summary["margin"]["low"] < summary["margin"]["high"]
    assert len(found.json["runs"][0]["margin"]) == 3
    assert found.json["judge"]["mean"] == Judge.load().card["errors"]["mean"]


def test_runs_of_one_recipe_are_taken_together(run: Run, tmp_path: Path, prompts: str, utility: str) -> None:
    other = str(save_tiny("llama", tmp_path / "other", seed=1))
    first = str(tmp_path / "model")
    options = ("--prompts", prompts, "--utility", utility, "--new-tokens", "3", "--json")
    both = run("evaluate", "--model", first, "--model", other, *options).json
    alone = [
        run("evaluate", "--model", m, *options).json["summary"]["margin"]["mean"] for m in (first, other)
    ]
    assert both["summary"]["margin"]["mean"] == pytest.approx(sum(alone) / 2)
    assert alone[0] != alone[1]


def test_every_rate_is_shown_with_the_error_of_the_judge(run: Run, prompts: str, utility: str) -> None:
    shown = run("evaluate", "--prompts", prompts, "--utility", utility, "--new-tokens", "3").out
    error = f"judge errs on {100 * Judge.load().card['errors']['mean']:.1f} %"
    text = " ".join(shown.split())
    assert text.count(f"; {error}") == 3  # refused, degenerate, over-refused
    assert "higher = safer" in text
    assert "one run says nothing of the next one" in text


def test_a_file_that_holds_no_prompts_is_refused(run: Run, utility: str) -> None:
    found = run("evaluate", "--prompts", utility)
    assert found.code == 1
    assert "not a prompt" in found.err


def test_a_study_lists_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    plan = Path(results.__file__).parent / "smollm2-cpu.toml"
    cells = run("study", str(plan), "--list", "--json").json
    assert cells[0] == {"arm": "window:sqsd:1", "seed": 0, "order": 0, "done": False}
    own = tmp_path / "smollm2-cpu"
    own.joinpath("window-sqsd-1-seed0.json").write_text(json.dumps({"plan": read_plan(plan).fingerprint}))
    again = run("study", str(plan), "--list", "--json").json
    assert [cell["arm"] for cell in again if cell["done"]] == ["window:sqsd:1"]
    assert "1 of 66 cells done" in run("study", str(plan), "--list").out


def test_a_plan_with_a_key_that_means_nothing_is_refused(run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('seeds = [0]\n[start]\nmodel = "x"\nsped = 1\n')
    found = run("study", str(plan), "--list")
    assert found.code == 1
    assert "[start]" in found.err
