"""Every command, as typed: what it prints, what it leaves behind, and how it ends."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.cli.conftest import Run, alpaca, write_rows


def test_triage_goes_from_a_file_to_a_ranked_list_and_a_report(run: Run, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [*alpaca(12), *alpaca(2)])
    ran = run("triage", str(file), "--heat", "2", "--top", "5")
    assert ran.code == 0, ran.err
    assert "layout alpaca" in ran.out
    assert "12 of 12 samples scored" in ran.out
    assert "2 duplicate" in ran.out
    assert "higher = riskier" in ran.out
    report = Path("curation-report.html").read_text()
    assert "Content-Security-Policy" in report
    assert "<script" not in report


def test_json_is_one_document_and_nothing_else(run: Run, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", alpaca(5))
    done = run("triage", str(file), "--json").json
    assert (done["scored"], done["unscored"], done["ingest"]["layout"]) == (5, 0, "alpaca")
    risks = [item["risk"] for item in done["top"]]
    assert risks == sorted(risks, reverse=True)
    page = run("queue", "--json", "--limit", "3").json
    assert [item["id"] for item in page["items"]] == [item["id"] for item in done["top"]][:3]
    rest = run("queue", "--json", "--after", page["next"]).json
    assert len(rest["items"]) == 2
    assert rest["next"] is None
    assert run("plan", str(file), "--json").json["samples"] == 5
    assert run("score", "--json").json["scored"] == 5
    assert run("report", "--json", "--heat", "0").json["report"].endswith("curation-report.html")
    assert all(check["ok"] for check in run("doctor", "--json").json)


def test_bad_rows_are_kept_counted_and_end_in_exit_code_3(run: Run, tmp_path: Path) -> None:
    file = write_rows(tmp_path / "mixed.jsonl", [*alpaca(3), "{broken", {"instruction": "x", "output": ""}])
    ran = run("ingest", str(file))
    assert ran.code == 3
    assert "2 rows could not be used" in ran.out
    kept = Path(re.sub(r"\s", "", ran.out[ran.out.rindex("reason in") + 9 :])).read_text().splitlines()
    assert len(kept) == 2
    assert run("ingest", str(file), "--json").json[0]["unchanged"] == 3


def test_scoring_again_with_another_metric_keeps_both(run: Run, tmp_path: Path) -> None:
    run("ingest", str(write_rows(tmp_path / "a.jsonl", alpaca(4))))
    first = run("score", "--json").json
    second = run("score", "--metric", "dot", "--json").json
    assert first["scorer"] != second["scorer"]
    old = run("queue", "--scorer", first["scorer"][:10], "--json").json["items"]
    new = run("queue", "--json").json["items"]
    assert {i["id"] for i in old} == {i["id"] for i in new}
    assert [i["risk"] for i in old] != [i["risk"] for i in new]


def test_explain_shows_tokens_and_modules_that_sum_to_the_risk(run: Run, tmp_path: Path) -> None:
    run("triage", str(write_rows(tmp_path / "a.jsonl", alpaca(4))), "--heat", "0")
    top = run("queue", "--json").json["items"][0]
    found = run("explain", top["id"][:8], "--loss-tokens", "--json").json
    for part in (
        found["risk_by_update_position"],
        found["risk_by_loss_token"],
        found["risk_by_module"].values(),
    ):
        assert sum(part) == pytest.approx(top["risk"], rel=1e-3, abs=1e-4)
    shown = run("explain", top["id"][:8], "--loss-tokens").out
    assert "effect of an update at each token position" in shown
    assert "rate at which each answer token's loss falls" in shown
    assert "assistant" in shown


def test_tiers_select_and_quarantined_samples_come_first(run: Run, tmp_path: Path) -> None:
    rows = [*alpaca(10), {"messages": [{"role": "assistant", "content": "no prompt"}]}]
    run("triage", str(write_rows(tmp_path / "a.jsonl", rows[:10])), "--heat", "0")
    critical = run("queue", "--tier", "critical", "--json").json["items"]
    assert [i["tier"] for i in critical] == ["critical"]
    assert run("queue", "--tier", "worst").code == 1


@pytest.mark.parametrize(
    ("args", "code", "words"),
    [
        (["queue"], 1, "curation demo"),
        (["triage", "/no/such/file.jsonl"], 1, "next:"),
        (["explain", "abc"], 1, "next:"),
        (["score", "--metric", "euclid"], 2, "euclid"),
        (["nonsense"], 2, "nonsense"),
        (["triage"], 2, "Missing"),
    ],
)
def test_errors_say_what_to_do_next_and_end_in_stable_codes(
    run: Run, args: list[str], code: int, words: str
) -> None:
    ran = run(*args)
    assert ran.code == code
    assert words in ran.err + ran.out


def test_an_unusable_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CURATION_MAX_TOKENS", "many")
    ran = run("queue")
    assert ran.code == 1
    assert "max_tokens" in ran.err


def test_a_terminal_is_not_taken_over_by_a_sample(run: Run, tmp_path: Path) -> None:
    rows: list[dict[str, object] | str] = [
        {
            "instruction": "\x1b[2J[red]hi[/red] \u202eevil",
            "output": "\x1b]0;title\x07 ok [/] [link=http://x]y",
        }
    ]
    run("triage", str(write_rows(tmp_path / "a.jsonl", rows)), "--heat", "0")
    item = run("queue", "--json").json["items"][0]
    for out in (run("queue").out, run("explain", item["id"][:8]).out):
        assert "\x1b]0" not in out
        assert "\x1b[2J" not in out
        assert "\u202e" not in out
        assert "[red]hi" in out


def test_help_of_every_command_teaches_with_an_example(run: Run) -> None:
    for command in ("triage", "ingest", "score", "queue", "explain", "plan", "report"):
        ran = run(command, "--help")
        assert ran.code == 0
        assert f"curation {command}" in ran.out or "Example" in ran.out


def test_the_program_starts_without_loading_torch() -> None:
    import subprocess
    import sys

    code = "import sys, curation.cli.main; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )
