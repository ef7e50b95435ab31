"""Results on disk: one small JSON file for the start, for each seed's scores and for each cell, whole or not there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from filelock import FileLock

from benchmarks.study.plan import Cell, Plan
from curation.errors import InputError
from curation.whole_file import whole_file

FOLDER = Path(__file__).parent.parent / "results" / "study"


@dataclass(frozen=True)
class Results:
    """The results of one plan, in a folder of its name."""

    plan: Plan
    folder: Path

    @classmethod
    def of(cls, plan: Plan, folder: Path | None = None) -> Results:
        """The plan's results, by default those in this checkout; the folder is made if need be."""
        own = (folder or FOLDER) / plan.name
        own.mkdir(parents=True, exist_ok=True)
        return cls(plan, own)

    def get(self, name: str) -> dict[str, Any] | None:
        """A stored result, None if there is none yet. Raises InputError if it was made with another plan."""
        file = self.folder / name
        if not file.is_file():
            return None
        stored = orjson.loads(file.read_bytes())
        if stored["plan"] != self.plan.fingerprint:
            raise InputError(
                f"{name} was made with other settings than those the plan {self.plan.name} has now",
                "Give the changed plan another name: results of two plans do not mix.",
            )
        return stored

    def put(self, name: str, found: dict[str, Any]) -> None:
        content = orjson.dumps({"plan": self.plan.fingerprint} | found, option=orjson.OPT_INDENT_2)
        with whole_file(self.folder / name, "The result") as file:
            file.write(content + b"\n")

    def lock(self, name: str) -> FileLock:
        """Held while a result is made, so that two processes can work through one plan."""
        folder = self.folder / ".locks"
        folder.mkdir(exist_ok=True)
        return FileLock(folder / name)

    def missing(self) -> list[Cell]:
        """Cells without a result, in the order of work."""
        return [cell for cell in self.plan.cells() if self.get(cell.file_name) is None]


def start_name(plan: Plan, seed: int) -> str:
    own = plan.start_seed(seed)
    return "start.json" if own is None else f"start-seed{own}.json"


def scores_name(seed: int) -> str:
    return f"scores-seed{seed}.json"
