"""The notebook runs with what there is, was run as it is, and says nothing of the machine it was run on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from tests.docs.pages import ROOT
from tests.sqsd.tiny import random_adapter, save_adapter, save_tiny, tiny_model

MOST_BYTES = 500_000
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
CELLS: list[dict[str, Any]] = [
    cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"
]


def test_every_cell_was_run_and_none_failed() -> None:
    assert [cell["execution_count"] for cell in CELLS] == list(range(1, len(CELLS) + 1))
    outputs = [output for cell in CELLS for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert [output for output in outputs if output.get("name") == "stderr"] == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4


def test_it_is_small_and_holds_no_path_of_a_machine() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < MOST_BYTES
    told = [
        output.get("text", []) + output.get("data", {}).get("text/plain", [])
        for cell in CELLS
        for output in cell["outputs"]
    ]
    said = "".join(line for lines in told for line in lines)
    assert not [part for part in ("/tmp", "/home", "/root", "/work", "site-packages") if part in said]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive")
def test_its_cells_run_with_a_tiny_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"model": str(save_tiny("llama", tmp_path / "model")), "home": str(tmp_path)}
    for seed, name in enumerate(("danger", "safety", "danger_state")):
        settings[name] = str(tmp_path / name)
        save_adapter(random_adapter(tiny_model("llama"), 2, seed=seed), tmp_path / name)
    for name, value in settings.items():
        monkeypatch.setenv(f"CURATION_{name.upper()}", value)
    mpl.use("Agg")
    names: dict[str, Any] = {}
    for cell in CELLS:
        exec(compile("".join(cell["source"]), str(NOTEBOOK), "exec"), names)
    assert len(names["table"]) == len(names["samples"])
    assert names["counts"].rows + sum(names["counts"].held.values()) == names["counts"].lines
