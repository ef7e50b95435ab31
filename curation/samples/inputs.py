"""Where rows come from: which format a source is in, and its rows one at a time."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from curation.errors import InputError
from curation.samples import tables
from curation.samples.compression import DAMAGE, SUFFIXES, Bytes, open_bytes
from curation.samples.json_array import array_rows
from curation.samples.rows import BOM, BadRow, Row, csv_rows, jsonl_rows

Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "saved dataset", "hub dataset"]

_FORMATS: dict[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
}
_HINT = (
    f"Known: {', '.join(_FORMATS)} (text also with {' or '.join(SUFFIXES)}), a directory written by "
    "datasets' save_to_disk, or the owner/name of a dataset on the Hugging Face hub."
)
_HUB_NAME = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


@dataclass(frozen=True, slots=True)
class OpenRows:
    """Rows in order, and the share of them read so far (0 to 1, None if unknown)."""

    rows: Iterator[Row | BadRow]
    fraction: Callable[[], float | None]


def format_of(source: str) -> Format:
    """The format by name; a `.json` file is "json" if it holds an array and "jsonl" if it holds lines.

    Raises InputError if there is nothing there or the format is not known.
    """
    path = Path(source)
    if path.is_dir():
        if is_saved_dataset(path):
            return "saved dataset"
        raise InputError(f"{source} is a directory but no saved dataset", f"Name one file in it. {_HINT}")
    found = format_by_name(path)
    if not path.exists():
        if found is None and _HUB_NAME.fullmatch(source):
            return "hub dataset"
        raise InputError(f"there is no file {source}", _HINT)
    if not path.is_file():
        raise InputError(f"{source} is not a regular file", "Write the rows to a file first.")
    if found is None:
        raise InputError(f"the format of {source} is not known", _HINT)
    return "jsonl" if found == "json" and not _holds_array(path) else found


def format_by_name(path: Path) -> Format | None:
    """What a file's name says of its format, None if it is no name of a file that can be read."""
    name = path.with_suffix("") if path.suffix.lower() in SUFFIXES else path
    found = _FORMATS.get(name.suffix.lower())
    return None if found == "parquet" and name != path else found


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` of datasets wrote a folder."""
    return any((folder / name).is_file() for name in ("state.json", "dataset_dict.json"))


def _holds_array(path: Path) -> bool:
    with open_bytes(path) as opened:
        try:
            start = opened.stream.read1(2**16)
        except DAMAGE:  # met again, and reported, when the rows are read
            return False
    return start.removeprefix(BOM).lstrip().startswith(b"[")


@contextmanager
def open_rows(source: str, form: Format, split: str) -> Generator[OpenRows, None, None]:
    """Open a source for one pass in constant memory. If its data breaks off, the last row is a BadRow.

    Raises InputError if the source cannot be opened at all.
    """
    match form:
        case "parquet":
            with tables.open_parquet(Path(source)) as table:
                yield OpenRows(_until_break(table.rows()), table.fraction)
        case "saved dataset":
            table = tables.open_saved_dataset(Path(source), split)
            yield OpenRows(_until_break(table.rows()), table.fraction)
        case "hub dataset":
            table = tables.open_hub_dataset(source, split)
            yield OpenRows(table.rows(), table.fraction)
        case "jsonl" | "json" | "csv" | "tsv":
            with open_bytes(Path(source)) as opened:
                yield OpenRows(_until_break(_text_rows(opened, form)), opened.fraction)


def _text_rows(opened: Bytes, form: Literal["jsonl", "json", "csv", "tsv"]) -> Iterator[Row | BadRow]:
    if form == "json":
        return array_rows(opened.stream)
    stream = cast("BinaryIO", opened.stream)
    if form == "jsonl":
        return jsonl_rows(stream)
    return csv_rows(stream, "," if form == "csv" else "\t")


def _until_break(rows: Iterator[Row | BadRow]) -> Iterator[Row | BadRow]:
    line = 0
    try:
        for row in rows:
            line = row.line
            yield row
    except DAMAGE as error:
        yield BadRow(line + 1, b"", f"the data is damaged or cut short from here on: {type(error).__name__}")
