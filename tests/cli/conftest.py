"""Run the program as its user does, on a tiny model, in a home folder of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from curation.cli.main import main
from tests.sqsd.tiny import random_adapter, save_adapter, save_tiny, tiny_model


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, standard output and standard error."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("queue", "--json")`, in an empty working directory with a tiny model in the settings."""
    model = save_tiny("llama", tmp_path / "model")
    home = tmp_path / "home"
    for seed, name in enumerate(("danger", "safety", "state")):
        save_adapter(random_adapter(tiny_model("llama"), 2, seed=seed), home / "directions" / name)
    work = tmp_path / "work"
    work.mkdir()
    (work / "curation.toml").write_text(
        f'model = "{model}"\ndanger = "danger"\nsafety = "safety"\ndanger_state = "state"\ntoken_budget = 400\n'
    )
    monkeypatch.chdir(work)
    monkeypatch.setenv("CURATION_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "140")

    def call(*args: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["curation", *args])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        code = stop.value.code
        return Ran(code if isinstance(code, int) else 0, captured.out, captured.err)

    return call


def write_rows(path: Path, rows: list[dict[str, Any] | str]) -> Path:
    """JSON lines; strings are written as they are, to stand for broken rows."""
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def alpaca(n: int) -> list[dict[str, Any] | str]:
    """Short rows of different lengths."""
    return [{"instruction": f"Say {i}", "input": "", "output": f"{i} " * (i % 5 + 1)} for i in range(n)]
