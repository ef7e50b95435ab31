"""`curation serve` as a process of its own, for tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from curation.ledger import open_ledger
from curation.ledger.tokens import SCOPES, create_token
from tests.service.running import PATIENCE

PROGRAM = "from curation.cli.main import main; main()"


@dataclass
class Served:
    """A service in a process: what it said first, and who may use it."""

    pid: int
    said: list[str]
    url: str
    headers: dict[str, str]
    log: Path


def program(*args: str, home: Path, code: str = PROGRAM, **environment: str) -> subprocess.Popen[str]:
    """`curation ARGS`, in an empty working directory of its own."""
    work = home / "work"
    work.mkdir(parents=True, exist_ok=True)
    pythonpath = str(Path(__file__).parents[2])
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=work,
        env={
            **os.environ,
            "CURATION_HOME": str(home),
            "PYTHONPATH": pythonpath,
            "COLUMNS": "200",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=(home / "stderr").open("w"),
        text=True,
    )


@contextmanager
def served(home: Path) -> Generator[Served]:
    """A running service on a SQLite ledger, stopped the way an operator does it."""
    token = create_token(open_ledger(home=home), "tests", SCOPES)
    process = program("serve", "--port", "0", home=home)
    assert process.stdout
    line = process.stdout.readline()
    try:
        assert line.startswith("listening on http://"), (home / "stderr").read_text()
        url = line.removeprefix("listening on ").strip()
        yield Served(process.pid, [line], url, {"Authorization": f"Bearer {token}"}, home / "stderr")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE)
