"""`curation select` as typed, on a tiny model's scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, alpaca, write_rows


@pytest.fixture
def scored(run: Run, tmp_path: Path) -> list[dict[str, Any]]:
    """Twelve rows scored with projection, riskiest first, their order such that the whole drifts toward danger."""
    run("ingest", str(write_rows(tmp_path / "rows.jsonl", [*alpaca(12), *alpaca(2)])), "--dataset", "rows")
    run("score", "--metric", "projection", "--dataset", "rows")
    return run("queue", "--json").json["items"]


def lines(path: str = "curation-proposals.jsonl") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header, *rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
    return header, rows


def total(items: list[dict[str, Any]], key: str = "risk") -> float:
    return sum(item[key] for item in items)


def test_the_riskiest_rows_are_proposed_to_be_dropped_until_the_bound_is_met(
    run: Run, scored: list[dict[str, Any]]
) -> None:
    bound = total(scored[3:]) + 1e-6
    assert total(scored[2:]) > bound
    found = run("select", "--drift", repr(bound), "--json").json
    assert (found["kept"], found["dropped"], found["bound"]) == (9, 3, bound)
    for key, rows in (("before", scored), ("after", scored[3:])):
        for part in ("danger", "safety"):
            assert found[key][part] == pytest.approx(total(rows, part), rel=1e-9)
        assert found[key]["net"] == pytest.approx(total(rows), rel=1e-9)
    header, rows = lines()
    assert header["label"] == found["label"] == "first-order prediction"
    assert header["bound"] == bound
    assert [row["id"] for row in rows] == [item["id"] for item in scored]
    assert [row["proposal"] for row in rows] == ["drop"] * 3 + ["keep"] * 9
    assert not {"verdict", "reviewer"} & set(rows[0])


def test_the_table_says_what_it_is_and_the_picture_is_written(run: Run, scored: list[dict[str, Any]]) -> None:
    ran = run("select", "--drift", repr(total(scored[3:]) + 1e-6), "--plot", "drift.svg", "--out", "p.jsonl")
    assert ran.code == 0, ran.err
    assert "first-order prediction - higher = riskier" in ran.out
    assert "drop the riskiest 3, keep 9" in ran.out
    assert "2 lines that repeat another" in ran.out
    drawn = Path("drift.svg").read_text()
    assert "higher = riskier" in drawn
    assert "(first-order prediction)" in drawn
    assert "kept: 9 of 12" in drawn
    assert Path("p.jsonl").exists()


def test_a_share_is_one_of_the_whole_set(run: Run, scored: list[dict[str, Any]]) -> None:
    assert total(scored) > 0
    found = run("select", "--drift", "50%", "--json").json
    assert found["bound"] == pytest.approx(total(scored) / 2)
    assert found["after"]["net"] <= found["bound"]
    assert run("select", "--drift", "100.001%", "--json").json["dropped"] == 0


def test_a_set_of_which_no_row_can_be_kept_says_what_to_ask_for(
    run: Run, scored: list[dict[str, Any]], tmp_path: Path
) -> None:
    top = scored[0]
    messages = [{"role": r, "content": top[k]} for r, k in (("user", "prompt"), ("assistant", "answer"))]
    run("ingest", str(write_rows(tmp_path / "one.jsonl", [{"messages": messages}])), "--dataset", "one")
    run("score", "--metric", "projection", "--dataset", "one")
    ran = run("select", "--drift", "0", "--dataset", "one")
    assert ran.code == 0
    assert "no row can be kept" in ran.out
    assert [row["proposal"] for row in lines()[1]] == ["drop"]


def test_rows_without_a_score_are_listed_as_not_counted(
    run: Run, scored: list[dict[str, Any]], tmp_path: Path
) -> None:
    more = [{"instruction": "new", "output": "row"}, {"instruction": "another", "output": "one"}]
    run("ingest", str(write_rows(tmp_path / "more.jsonl", more)), "--dataset", "rows")
    found = run("select", "--drift", "1e9", "--json").json
    assert found["not_counted"] == {"quarantined": 0, "unscored": 2, "duplicates": 2}
    _, rows = lines()
    assert [row["proposal"] for row in rows] == ["not counted"] * 2 + ["keep"] * 12
    assert rows[0]["reason"] == "unscored"
    assert "2 not yet scored" in run("select", "--drift", "1e9").out


def test_mixing_in_other_rows_is_the_alternative(
    run: Run, scored: list[dict[str, Any]], tmp_path: Path
) -> None:
    # "refusals" here are the safest and the riskiest of the same rows, so that one helps and the other does not
    for name, item in (("good", scored[-1]), ("bad", scored[0])):
        messages = [{"role": r, "content": item[k]} for r, k in (("user", "prompt"), ("assistant", "answer"))]
        run(
            "ingest", str(write_rows(tmp_path / f"{name}.jsonl", [{"messages": messages}])), "--dataset", name
        )
    unscored = run("select", "--drift", "0", "--dataset", "rows", "--mix", "good")
    assert unscored.code == 1
    assert "--metric projection" in unscored.err
    for name in ("good", "bad"):
        run("score", "--dataset", name, "--metric", "projection")
    bound = total(scored) - 2.0
    args = ("select", "--drift", repr(bound), "--dataset", "rows", "--json")
    mix = run(*args, "--mix", "good").json["mix"]
    n = mix["rows_needed"]
    assert mix["mean_net"] == pytest.approx(scored[-1]["risk"])
    assert total(scored) + n * mix["mean_net"] <= bound < total(scored) + (n - 1) * mix["mean_net"]
    assert mix["passes"] == n == 3
    assert "keep all 12 and add 3 rows of good" in run(*args[:-1], "--mix", "good").out
    assert run(*args, "--mix", "bad").json["mix"]["rows_needed"] is None
    assert "does not help" in run(*args[:-1], "--mix", "bad").out


def test_scores_that_do_not_add_up_are_taken_with_a_warning_and_another_label(
    run: Run, scored: list[dict[str, Any]]
) -> None:
    projection = run("select", "--drift", "1e9", "--json").json
    assert projection["note"] is None
    run("score", "--metric", "cosine", "--dataset", "rows")
    ran = run("select", "--drift", "1e9", "--plot", "drift.svg")
    assert ran.code == 0
    assert "cosines do not add up" in ran.err.replace("\n", " ")
    assert "a sum of cosines, not a first-order prediction" in ran.out
    assert "not a first-order prediction" in Path("drift.svg").read_text()
    assert lines()[0]["label"] == "sum of cosines, not a first-order prediction"
    assert run("select", "--drift", "1e9", "--json").json["note"]
    again = run("select", "--drift", "1e9", "--scorer", projection["scorer"][:10], "--json").json
    assert again["label"] == "first-order prediction"


@pytest.mark.parametrize("bound", ["half", "nan", "-1e12"])
def test_a_bound_that_cannot_be_met_or_read_writes_nothing(
    run: Run, scored: list[dict[str, Any]], bound: str
) -> None:
    ran = run("select", "--drift", bound)
    assert ran.code == 1
    assert "next:" in ran.err
    assert not list(Path().glob("curation-proposals*"))
