"""What lies in a folder to be read, and whether it is still being written.

Plain polling: the systems that report changes say nothing of what other machines do in a network folder, and a file
that has only begun to appear has to be looked at again anyway.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from curation.samples.inputs import format_by_name, is_saved_dataset


def sources_in(folder: Path) -> dict[str, str]:
    """Files and saved datasets that can be read, by path, with their state: it differs once one has changed.

    Only the folder itself, without those in it. Hidden files, other formats and empty files are left out. Raises
    OSError if the folder cannot be listed.
    """
    found: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (state := state_of(path)):
            found[str(path)] = state
    return found


def state_of(path: Path) -> str | None:
    """Size in bytes and time of the last change; None if there is nothing there to be read."""
    try:
        if path.is_dir():
            parts = [file.stat() for file in path.rglob("*")] if is_saved_dataset(path) else []
        else:
            parts = [path.stat()] if path.is_file() and format_by_name(path) else []
    except OSError:  # it went away between two looks, or is not for us
        return None
    size = sum(part.st_size for part in parts)
    return f"{size} {max(part.st_mtime_ns for part in parts)}" if size else None


def name_of(path: str) -> str:
    """A path as a ledger and a terminal can hold it: the name of a file need not be Unicode."""
    return path.encode(errors="backslashreplace").decode()


class Watched:
    """A folder whose sources are read once they are at rest: in the same state at two looks in a row."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._before: Mapping[str, str] = {}

    def look(self, known: Mapping[str, str]) -> tuple[dict[str, str], int]:
        """Sources at rest whose state is not the one known of their `name_of`, and how many may still be written to.

        Raises OSError if the folder cannot be listed.
        """
        now = sources_in(self._folder)
        new = {path: state for path, state in now.items() if known.get(name_of(path)) != state}
        resting = {path: state for path, state in new.items() if self._before.get(path) == state}
        self._before = now
        return resting, len(new) - len(resting)
