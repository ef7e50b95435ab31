"""Runs docs/notebook.ipynb from its first cell to its last and keeps what came out: `make notebook`.

Edit its cells in Jupyter or here and there by hand; the outputs are then made anew.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parent / "notebook.ipynb"

MOST_BYTES = 500_000


def main() -> None:
    """Run it in an empty folder and an empty home, so that nothing of this machine gets into it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CURATION_HOME"] = folder
        NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": folder}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # when each cell ran
        if cell.cell_type == "code":  # warnings name the places that libraries are installed in
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    text = nbformat.writes(notebook)
    if foreign := [
        path for path in (str(Path.home()), tempfile.gettempdir(), sys.prefix) if f"{path}/" in text
    ]:
        sys.exit(f"paths of this machine are in the outputs: {', '.join(foreign)}")
    if len(text) > MOST_BYTES:
        sys.exit(f"{len(text):,} bytes are more than {MOST_BYTES:,}: show less")
    NOTEBOOK.write_text(text + "\n")


if __name__ == "__main__":
    main()
