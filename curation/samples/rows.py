"""Rows of line-based text: JSONL and CSV, one at a time and never more than `ROW_CAP` bytes in memory.

A row that cannot be read is a `BadRow` in its place; the rows after it go on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import orjson

ROW_CAP = 16 * 2**20
"""Longest row read, in bytes: 1,000,000 characters, each as a JSON escape of a surrogate pair, need 12 MB."""
RAW_CAP = 4096
"""Bytes of a bad row kept for a person to recognise it by."""
BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Row:
    """A row as plain JSON values. `line` is where it starts, or its number in formats without lines."""

    line: int
    raw: bytes
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read, and why. `raw` may be cut."""

    line: int
    raw: bytes
    reason: str


def jsonl_rows(stream: BinaryIO) -> Iterator[Row | BadRow]:
    """One JSON object per line; blank lines are skipped."""
    for number, line in enumerate(_lines(stream), start=1):
        if line.strip():
            yield json_row(number, line)


def json_row(line: int, raw: bytes) -> Row | BadRow:
    if len(raw) > ROW_CAP:
        return too_long(line, raw)
    try:
        value: Any = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        return BadRow(line, raw, f"broken JSON: {error.msg}")
    if not isinstance(value, dict):
        return BadRow(line, raw, "not a JSON object")
    return Row(line, raw, cast("dict[str, Any]", value))


def too_long(line: int, raw: bytes) -> BadRow:
    return BadRow(line, raw[:RAW_CAP], f"longer than {ROW_CAP // 2**20} MiB")


def csv_rows(stream: BinaryIO, delimiter: str) -> Iterator[Row | BadRow]:
    """Rows under a header. Quoting is strict: an unclosed quote must not swallow its neighbours unnoticed."""
    csv.field_size_limit(ROW_CAP)  # process-wide, and the default of 128 KiB is below real answers
    feed = _CsvFeed(stream)
    reader = csv.reader(feed, delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        feed.begin_row()
        problem = ""
        values: list[str] = []
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problem = f"broken CSV: {error}"
        problem = feed.problem or problem
        if not problem and not values:
            continue
        if not header:
            if problem or len(set(values)) < len(values):
                yield BadRow(
                    feed.first, feed.head, f"unusable header: {problem or 'a column name appears twice'}"
                )
                return
            header = values
        elif not problem and len(values) != len(header):
            yield BadRow(feed.first, feed.head, f"{len(values)} fields where the header has {len(header)}")
        elif problem:
            yield BadRow(feed.first, feed.head, problem)
        else:
            yield Row(feed.first, feed.head, dict(zip(header, values, strict=True)))


class _CsvFeed(Iterator[str]):
    """Physical lines for csv.reader, watching the row they belong to.

    An iterator, not a generator: it goes on after the error that ends an oversized row.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._lines = _lines(stream)
        self._read = 0
        self.begin_row()

    def begin_row(self) -> None:
        self.first = self._read + 1
        self.head = b""
        self.problem = ""
        self._bytes = 0

    def __next__(self) -> str:
        line = next(self._lines)
        self._read += 1
        self._bytes += len(line)
        if len(self.head) < RAW_CAP:
            self.head += line[: RAW_CAP - len(self.head)]
        if self._bytes > ROW_CAP:
            self.problem = too_long(self.first, b"").reason
            raise csv.Error(self.problem)
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.problem = "not UTF-8"
            return line.decode(errors="replace")


def _lines(stream: BinaryIO) -> Iterator[bytes]:
    """Lines with their ends; one over the cap comes cut to `ROW_CAP + 1` bytes, its rest passed over."""
    first = True
    while line := stream.readline(ROW_CAP + 1):
        rest = line
        while len(rest) > ROW_CAP and not rest.endswith(b"\n"):
            rest = stream.readline(ROW_CAP + 1)
        yield line.removeprefix(BOM) if first else line
        first = False
