"""A folder that appears whole or not at all: written under another name, brought to the disk, then renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from curation.errors import InputError


@contextmanager
def staged(target: Path) -> Generator[Path]:
    """An empty folder to write into. `publish` makes it `target`; whatever else happens, it is removed.

    Raises InputError if `target` exists, if another process is writing it, or if writing fails (a full disk, for
    example).
    """
    target = target.absolute()
    lock = target.with_name(f".{target.name}.lock")
    try:
        with FileLock(lock, timeout=0):
            try:
                _refuse_existing(target)
                yield from _folder(target)
            finally:
                # Nobody waits for this lock. Should two processes meet here after all, the rename lets one through.
                with suppress(OSError):
                    lock.unlink()
    except Timeout:
        raise InputError(
            f"another export to {target} is under way", "Wait for it to end, or name another folder."
        ) from None
    except OSError as error:
        raise InputError(
            f"the export could not be written to {target}: {error.strerror or error}",
            "Nothing of it was kept. Name a new folder beside others, where you may write and that has room.",
        ) from error


def _folder(target: Path) -> Generator[Path]:
    for left in target.parent.glob(f".{target.name}.*.tmp"):  # of an export that was killed
        shutil.rmtree(left, ignore_errors=True)
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # gone already if it was published


def sync(folder: Path) -> None:
    """Bring every file and folder below `folder` to the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("r+b") as file:
                os.fsync(file.fileno())
        else:
            _sync_names(path)
    _sync_names(folder)


def publish(folder: Path, target: Path) -> None:
    """Give a synced folder its name."""
    folder.rename(target)
    _sync_names(target.absolute().parent)


def _sync_names(folder: Path) -> None:
    if os.name == "nt":  # where a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_existing(target: Path) -> None:
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} exists already", "An export is never written over: name a new folder.")
