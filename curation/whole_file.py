"""Writing a file whole or not at all: under another name, brought to the disk, renamed."""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from curation.errors import InputError


@contextmanager
def whole_file(path: Path, what: str) -> Generator[BinaryIO]:
    """A file to write to, which takes the place of `path` once the block ends well.

    Raises InputError, naming the file as `what` ("The report"), if it cannot be written; `path` is then as before.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"{what} could not be written to {path}: {error.strerror}",
            "Name a file in a folder that exists, that you may write to and that has room.",
        ) from error
