"""The blocks of commands in the documentation run as they stand, page by page, in a folder of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.samples import read_samples
from tests.argilla.server import Argilla
from tests.cli.conftest import alpaca, write_rows
from tests.docs import warm
from tests.docs.pages import PAGES, ROOT, Block, blocks
from tests.label_studio.server import LabelStudio
from tests.servers import Program
from tests.sqsd.tiny import random_adapter, save_adapter, save_tiny, tiny_model

PATIENCE = 300  # seconds for a block, on a busy machine; what goes on for ever is not to be run
PLACEHOLDER = "3f9a2c"  # the id that pages use for any sample
RUN = {page: found for page in PAGES if (found := [b for b in blocks(page) if not b.not_run])}
NOT_RUN = [block for page in PAGES for block in blocks(page) if block.not_run]


def _parameters() -> list[object]:
    """A page that needs a server is a slow test."""
    return [
        pytest.param(page, id=page.name, marks=[pytest.mark.slow] if any(b.needs for b in found) else [])
        for page, found in RUN.items()
    ]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which pages begin: a tiny model with random directions, and the files that they name."""
    folder = tmp_path_factory.mktemp("docs")
    save_tiny("llama", folder / "my-model")
    for seed, name in enumerate(("danger", "safety", "state")):
        save_adapter(random_adapter(tiny_model("llama"), 2, seed=seed), folder / "home" / "directions" / name)
    (folder / "curation.toml").write_text(
        f'model = "{folder}/my-model"\ndanger = "danger"\nsafety = "safety"\ndanger_state = "state"\n'
    )
    rows = write_rows(folder / "data.jsonl", alpaca(30))
    ids = [sample.id for sample in read_samples(rows)]
    decided = [f"{known},approve,ada,2026-03-14T12:00:00Z\n" for known in ids[:5]]
    (folder / "decisions.csv").write_text("".join(["id,verdict,reviewer,decided_at\n", *decided]))
    shutil.copy(ROOT / "docs" / "examples" / "messy.jsonl", folder)
    return folder


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for the PATH: the command `curation`, and commands that would open a browser and do not."""
    folder = tmp_path_factory.mktemp("bin")
    for name in ("xdg-open", "open"):
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    warm.install(folder, folder / "socket")
    command = [sys.executable, "-m", "tests.docs.warm", str(folder / "socket")]
    server = Program(command, dict(os.environ), folder / "warm.log", (folder / "socket").is_socket)
    server.start()
    yield folder
    server.kill()


@pytest.mark.parametrize("page", _parameters())
def test_the_commands_of_a_page_run(
    page: Path, prepared: Path, program: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    work = shutil.copytree(prepared, tmp_path / "work")
    needed = sorted({need for block in RUN[page] for need in block.needs})
    shown = {PLACEHOLDER: next(iter(read_samples(work / "data.jsonl"))).id[:8]}
    for server in needed:
        shown |= _servers(server, page.stem, request)
    if page.name != "tutorial.md":  # which begins with nothing
        _run(program, work, "curation triage data.jsonl --quiet", 0)
    for block in RUN[page]:
        text = block.text
        for written, real in shown.items():
            text = text.replace(written, real)
        _run(program, work, text, block.exit, str(block))


@pytest.mark.parametrize("block", NOT_RUN, ids=str)
def test_a_block_that_is_not_run_says_why(block: Block) -> None:
    assert len(block.not_run.split()) > 3


def _run(program: Path, work: Path, text: str, expected: int, place: str = "") -> None:
    """Run a block in bash, which stops at the first failure; what it exports is there for the next block."""
    state = work / "exported"
    script = f"""set -eo pipefail
[ ! -e {state} ] || . {state}
trap 'export -p > {state}' EXIT
{text}"""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CURATION_")},
        "CURATION_HOME": str(work / "home"),
        "PATH": f"{program}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "CURATION_SECRETS_DIR": str(work / "no secrets"),
    }
    done = subprocess.run(
        ["bash", "-c", script], cwd=work, env=environment, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == expected, f"{place}\n{text}\n{done.stdout}\n{done.stderr}"


def _servers(name: str, page: str, request: pytest.FixtureRequest) -> dict[str, str]:
    """What a page writes of a server, and what is true of ours."""
    if name == "label-studio":
        label_studio: LabelStudio = request.getfixturevalue("label_studio")
        return {
            "http://localhost:8080": label_studio.url,
            '"Safety review"': f'"Safety review, {page}"',  # the same server for every page
            "CURATION_LABEL_STUDIO_TOKEN=...": f"CURATION_LABEL_STUDIO_TOKEN={label_studio.token}",
        }
    argilla: Argilla = request.getfixturevalue("argilla")
    argilla.owner.post("/workspaces", json={"name": "safety"})  # it may be there
    return {
        "http://localhost:6900": argilla.url,
        "CURATION_ARGILLA_API_KEY=...": f"CURATION_ARGILLA_API_KEY={argilla.api_key}",
    }
