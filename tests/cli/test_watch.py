"""`curation watch`: what appears in a folder is read once, scored, and remembered; nothing stops it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Engine

from curation.errors import LedgerError
from curation.ledger import counts, find_dataset, open_ledger, reading
from curation.ledger.scores import find_scorer
from tests.cli.conftest import Ran, Run, alpaca, write_rows

HERE = ("--once", "--every", "0.05")


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    folder = tmp_path / "incoming"
    folder.mkdir()
    return folder


def look(run: Run, folder: Path, *more: str) -> Ran:
    return run("watch", str(folder), *HERE, *more)


def test_a_new_file_is_read_and_scored_once(run: Run, incoming: Path) -> None:
    write_rows(incoming / "a.jsonl", alpaca(6))
    first = look(run, incoming, "--json")
    assert first.code == 0, first.err
    assert [one["new"] for one in first.json["files"]] == [6]
    assert (first.json["dataset"], first.json["scored"], first.json["unscored"]) == ("incoming", 6, 0)
    again = look(run, incoming, "--json")
    assert (again.code, again.out) == (0, "")


def test_a_file_that_changed_is_read_again_and_only_its_new_rows_are_scored(run: Run, incoming: Path) -> None:
    file = write_rows(incoming / "a.jsonl", alpaca(4))
    look(run, incoming)
    write_rows(file, alpaca(6))
    done = look(run, incoming, "--json")
    assert [(one["rows"], one["new"], one["unchanged"]) for one in done.json["files"]] == [(6, 2, 4)]
    assert done.json["scored"] == 6


def test_bad_rows_are_kept_aside_and_a_broken_file_does_not_stop_the_others(run: Run, incoming: Path) -> None:
    (incoming / "a-broken.json").write_text("[ this is no JSON ")
    (incoming / "b-broken.parquet").write_text("PAR1 neither is this a table")
    write_rows(incoming / "c.jsonl", [*alpaca(3), "{not json"])
    (incoming / "notes.txt").write_text("not for us")
    done = look(run, incoming)
    assert done.code == 3
    assert "a-broken.json" in done.err
    assert "b-broken.parquet" in done.err
    assert "notes.txt" not in done.err + done.out
    assert "1 rows could not be used" in done.out
    assert "3 of 3 samples of incoming scored" in done.out
    (rejects,) = (Path(os.environ["CURATION_HOME"]) / "rejects").iterdir()
    assert json.loads(rejects.read_text())["line"] == 4


def test_what_was_read_but_not_scored_is_scored_by_the_next_look(run: Run, incoming: Path) -> None:
    file = write_rows(incoming / "a.jsonl", alpaca(5))
    run("ingest", str(file), "--dataset", "incoming")  # as if killed before scoring and before noting it
    done = look(run, incoming, "--json")
    assert [(one["new"], one["unchanged"]) for one in done.json["files"]] == [(0, 5)]
    assert done.json["scored"] == 5


def test_another_way_of_reading_reads_again(run: Run, incoming: Path) -> None:
    messages = [{"role": role, "content": f"{role} {i}"} for i in range(2) for role in ("user", "assistant")]
    write_rows(incoming / "a.jsonl", [{"messages": messages}])
    look(run, incoming)
    done = look(run, incoming, "--train", "all", "--json")
    assert [one["new"] for one in done.json["files"]] == [1]


def test_a_folder_that_is_not_there_is_refused(run: Run, incoming: Path) -> None:
    done = look(run, incoming / "away")
    assert done.code == 1
    assert "no folder" in done.err


def test_a_scorer_that_cannot_be_loaded_ends_it(run: Run, incoming: Path) -> None:
    write_rows(incoming / "a.jsonl", alpaca(3))
    done = run("watch", str(incoming), "--every", "0.05", "--danger", "nowhere")
    assert done.code == 1
    assert "no adapter directory nowhere" in done.err


def test_with_a_broker_the_workers_are_rung_and_nothing_is_scored_here(
    run: Run, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURATION_BROKER_URL", "redis://127.0.0.1:1/0")  # nobody answers, and that is no error
    write_rows(incoming / "a.jsonl", alpaca(3))
    done = look(run, incoming, "--json")
    assert done.code == 0
    assert [one["new"] for one in done.json["files"]] == [3]
    assert "scored" not in done.json


def scored(engine: Engine) -> int:
    try:
        with reading(engine) as conn:
            return counts(conn, find_dataset(conn, "incoming").id, find_scorer(conn).id).scored
    except LedgerError:  # no dataset or no scorer yet
        return 0


@pytest.mark.slow
def test_it_watches_until_interrupted_and_goes_on_after_a_kill(run: Run, incoming: Path) -> None:
    def start() -> subprocess.Popen[str]:
        program = "from curation.cli.main import main; main()"
        command = [sys.executable, "-c", program, "watch", str(incoming), "--every", "0.1"]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_for(n: int) -> None:
        engine = open_ledger(home=Path(os.environ["CURATION_HOME"]))
        deadline = time.monotonic() + 300
        while scored(engine) != n:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        engine.dispose()

    watching = start()
    write_rows(incoming / "a.jsonl", alpaca(4))
    wait_for(4)
    watching.kill()
    watching.communicate()
    write_rows(incoming / "b.jsonl", [{"prompt": f"quoted {i}", "response": "nowhere"} for i in range(3)])
    watching = start()
    wait_for(7)
    watching.send_signal(signal.SIGINT)
    out, err = watching.communicate(timeout=300)
    assert watching.returncode == 0, err
    assert "stopped; 1 files were read" in err  # a.jsonl was remembered
    assert "b.jsonl" in out
    assert "quoted" not in out + err


def test_an_interrupt_that_a_library_swallows_ends_it_at_the_next_look(
    run: Run, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swallow(*_: object) -> dict[str, str]:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(10)
        return {}

    monkeypatch.setattr("curation.cli.watch.states_read", swallow)
    ended = run("watch", str(incoming), "--every", "0.01")
    assert ended.code == 0
    assert "stopped; 0 files were read" in ended.err
