"""Whatever goes wrong while an export is written, there is a whole one or none."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock
from sqlalchemy import Engine

from curation.errors import GateError, InputError
from curation.gate import export as export_module
from curation.gate.formats import Format
from curation.gate.load import load_export
from curation.ledger import open_ledger, reading
from curation.ledger.exports import exports_of
from tests.gate.builders import reviewed

ROOT = Path(__file__).parents[2]


def test_the_seal_is_made_of_what_lies_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    house = reviewed(open_ledger(home=tmp_path))
    for row, words in ((2, "row 3, from train.jsonl:3"), (None, "another number of rows")):

        def damage(paths: list[Path], _form: Format, _folder: Path, row: int | None = row) -> list[Path]:
            lines = paths[0].read_text().splitlines(keepends=True)
            kept = (
                lines[:-1]
                if row is None
                else [*lines[:row], lines[row].replace("t2", "t9"), *lines[row + 1 :]]
            )
            paths[0].write_text("".join(kept))
            return paths

        monkeypatch.setattr(export_module, "finish", damage)
        with pytest.raises(GateError, match=words):
            house.export(tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


def test_two_exports_to_one_folder_at_once_leave_one_whole(ledger: Engine, tmp_path: Path) -> None:
    house = reviewed(ledger, 300)
    outcomes: list[str] = []
    ready = threading.Barrier(3)

    def run() -> None:
        ready.wait()
        try:
            house.export(tmp_path / "out")
            outcomes.append("done")
        except InputError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("done") == 1
    assert all("is under way" in said or "exists already" in said for said in outcomes if said != "done")
    assert len(load_export(tmp_path / "out")) == 300
    assert [path.name for path in tmp_path.glob("*out*")] == ["out"]


def test_a_folder_that_is_taken_is_left_alone(ledger: Engine, tmp_path: Path) -> None:
    house = reviewed(ledger)
    (tmp_path / "out").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="exists already"):
        house.export(tmp_path / "out")
    with FileLock(tmp_path / ".new.lock"), pytest.raises(InputError, match="under way"):
        house.export(tmp_path / "new")
    with pytest.raises(InputError, match="could not be written"):
        house.export(tmp_path / "file" / "out")
    assert [path.name for path in tmp_path.glob("*out*")] == ["out"]


LIMITED = """
import resource, sys
from pathlib import Path
from tests.gate.builders import House
from curation.ledger import open_ledger
home, form, limit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
engine = open_ledger(home=home)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
House(engine).export(home / "out", form)
"""


@pytest.mark.parametrize("form", ["jsonl", "parquet", "hf"])
def test_a_disk_that_fills_up_leaves_nothing(tmp_path: Path, form: Format) -> None:
    """No file may grow over a limit, which is how a full disk shows: first in the data, then in their seal."""
    house = reviewed(open_ledger(home=tmp_path), 600)
    for limit in (10_000, 150_000):
        ran = subprocess.run(
            [sys.executable, "-c", LIMITED, str(tmp_path), form, str(limit)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 1, limit
        assert "InputError: the export could not be written" in ran.stderr, ran.stderr
        assert list(tmp_path.glob("*out*")) == []
    with reading(house.engine) as conn:
        assert exports_of(conn, house.dataset.id, house.pk("t0")) == []
    house.export(tmp_path / "out", form)


KILLED = """
import sys
from pathlib import Path
from tests.gate.builders import House
from curation.ledger import open_ledger
home = Path(sys.argv[1])
print("ready", flush=True)
House(open_ledger(home=home)).export(home / "out")
print("done", flush=True)
"""


def test_an_export_that_is_killed_is_not_there_or_whole(tmp_path: Path) -> None:
    house = reviewed(open_ledger(home=tmp_path), 600)
    whole = 0
    for delay in (0.05, 0.2, 0.4):
        process = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout
        process.stdout.readline()
        time.sleep(delay)
        process.kill()
        process.communicate()
        if (tmp_path / "out").exists():
            assert len(load_export(tmp_path / "out")) == 600
            (tmp_path / "out").rename(tmp_path / f"kept-{delay}")
            whole += 1
    house.export(tmp_path / "out")
    assert list(tmp_path.glob(".out*")) == []
    with reading(house.engine) as conn:
        # recorded first: what is out is known, though not all that is known came out
        assert len(exports_of(conn, house.dataset.id, house.pk("t0"))) >= whole + 1
