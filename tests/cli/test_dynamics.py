"""`curation dynamics` on the log of a real run."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.dynamics import DriftCallback
from tests.cli.conftest import Run
from tests.dynamics.runs import lora, trainer


@pytest.fixture
def logs(run: Run, tmp_path: Path) -> list[Path]:
    """Two runs, their directions found by name in the home of `run`."""
    files = [tmp_path / name / "drift.jsonl" for name in ("one", "two")]
    for seed, file in enumerate(files):
        callback = DriftCallback("danger", "safety", file, every=2)
        trainer(lora(names=("q_proj", "down_proj"), seed=seed), tmp_path / "run", [callback]).train()
    return files


def test_show_prints_steps_signs_and_what_is_left_out(run: Run, logs: list[Path]) -> None:
    ran = run("dynamics", "show", str(logs[0]))
    assert ran.code == 0, ran.err
    assert "higher = riskier" in ran.out
    rows = [line.split() for line in ran.out.splitlines()]
    assert [row[0] for row in rows if row and row[0] in "246"] == ["2", "4", "6"]
    assert "danger covers 10 modules that are not trained: model.layers.*.mlp.gate_proj, " in ran.out


def test_show_json_is_the_log(run: Run, logs: list[Path]) -> None:
    found = run("dynamics", "show", str(logs[0]), "--json").json
    assert [step["step"] for step in found["steps"]] == [2, 4, 6]
    assert len(found["header"]["danger"]["not_trained"]) == 10
    assert {"cosine", "projection", "norm"} == set(found["steps"][0]["danger"])
    assert found["steps"][-1]["loss"] > 0


def test_plot_names_runs_by_as_much_of_their_path_as_tells_them_apart(
    run: Run, logs: list[Path], tmp_path: Path
) -> None:
    both = [str(log) for log in logs]
    assert run("dynamics", "plot", *both, "--out", "a.svg").code == 0
    assert run("dynamics", "plot", both[0], "--out", "a.png", "--metric", "cosine").code == 0
    drawn = Path("a.svg").read_text()
    assert "one/drift" in drawn
    assert "two/drift" in drawn
    assert str(tmp_path) not in drawn
    assert Path("a.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["show", "/no/such.jsonl"], "cannot be read"),
        (["show", "curation.toml"], "no log"),
        (["plot", "curation.toml", "--out", "a.png"], "no log"),
    ],
)
def test_what_is_no_log_is_an_error_with_a_next_step(run: Run, args: list[str], words: str) -> None:
    ran = run("dynamics", *args)
    assert ran.code == 1
    assert words in ran.err
    assert "next:" in ran.err
