"""Bytes of a file, plain or compressed. What comes before damage is delivered, then `DAMAGE` is raised."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from curation.errors import InputError

SUFFIXES = (".gz", ".zst")
DAMAGE = (OSError, EOFError, zlib.error)
"""What reading a damaged or truncated stream raises."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """`stream` gives the decompressed bytes; `file` is the file as it lies on disk, for its position."""

    stream: io.BufferedIOBase
    file: BinaryIO
    size: int

    def fraction(self) -> float:
        """Share of the file read so far, 0 to 1."""
        return min(1.0, self.file.tell() / self.size) if self.size else 1.0


@contextmanager
def open_bytes(path: Path) -> Generator[Bytes, None, None]:
    """Open for streaming. Raises InputError if the file cannot be opened."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(
            f"{path} cannot be opened: {error.strerror}", "Check the name and its permissions."
        ) from error
    with file:
        suffix = path.suffix.lower()
        if suffix == ".gz":
            stream = cast("io.BufferedIOBase", gzip.GzipFile(fileobj=file))
        elif suffix == ".zst":
            stream = io.BufferedReader(_ZstdReader(file))
        else:
            stream = file
        yield Bytes(stream, file, path.stat().st_size)


class _ZstdReader(io.RawIOBase):
    """Zstandard frames, one after the other.

    zstandard's own stream_reader takes a truncated file for a complete one. A step of 512 bytes bounds what a
    decompression bomb can unfold at once: at most 128 blocks of 128 KiB.
    """

    _STEP = 512

    def __init__(self, file: BinaryIO) -> None:
        import zstandard

        self._file = file
        self._context = zstandard.ZstdDecompressor()
        self._frame = self._context.decompressobj()
        self._begun = False
        self._error = zstandard.ZstdError
        self._input = b""
        self._output = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        while not self._output:
            data = self._input or self._file.read(self._STEP)
            if not data:
                if self._begun:
                    raise EOFError("the compressed data ends before its frame does")
                return 0
            self._decompress(data)
        count = min(len(buffer), len(self._output))
        buffer[:count] = self._output[:count]
        self._output = self._output[count:]
        return count

    def _decompress(self, data: bytes) -> None:
        self._begun = True
        try:
            self._output = memoryview(self._frame.decompress(data))
        except self._error as error:
            raise OSError(str(error)) from error
        self._input = b""
        if self._frame.eof:
            self._input = self._frame.unused_data
            self._frame = self._context.decompressobj()
            self._begun = False
