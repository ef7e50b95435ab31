"""The rejects file: rows that could not become samples, kept for a person to look at and repair."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import orjson

from curation.errors import InputError
from curation.samples.rows import RAW_CAP
from curation.samples.sample import Source


class Rejects:
    """JSON lines of `{file, line, reason, raw}`, written through as they come so that a kill loses none.

    `raw` is the start of the row as it was read, at most 4 KiB. The file is made with the first reject.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file: BinaryIO | None = None

    def clear(self) -> None:
        """Forget what an earlier reading of the same source rejected."""
        self.close()
        self.path.unlink(missing_ok=True)

    def add(self, place: Source, reason: str, raw: bytes) -> None:
        """Keep one row. Raises InputError if the file cannot be made."""
        if self._file is None:
            try:
                self._file = self.path.open("ab")
            except OSError as error:
                raise InputError(
                    f"the rejects file {self.path} cannot be written: {error.strerror}",
                    "Name another place for it.",
                ) from error
        text = raw[:RAW_CAP].decode(errors="replace").strip()
        row = {"file": place.file, "line": place.line, "reason": reason, "raw": text}
        self._file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
