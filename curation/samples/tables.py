"""Rows of Arrow tables: Parquet files and Hugging Face datasets, on disk or on the hub.

Datasets are read as Arrow and not through their features, so that nothing (images, audio) is decoded.
"""

from __future__ import annotations

import base64
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from curation.errors import InputError
from curation.samples.rows import ROW_CAP, BadRow, Row, too_long

_BATCH = 256
Batch = Any
"""A pyarrow RecordBatch or Table: pyarrow has no types, and is imported only where it is needed."""


@dataclass(slots=True)
class Table:
    """Arrow batches and how many rows they hold in all, where that is known."""

    batches: Iterable[Batch]
    total: int | None
    read: int = 0

    def rows(self) -> Iterator[Row | BadRow]:
        for batch in self.batches:
            # A batch over the cap is taken row by row: as Python values it would be larger still.
            step = _BATCH if batch.nbytes <= ROW_CAP else 1
            for offset in range(0, batch.num_rows, step):
                piece = batch.slice(offset, step)
                yield from _rows(piece, self.read + 1)
                self.read += piece.num_rows

    def fraction(self) -> float | None:
        """Share of the rows read so far, 0 to 1; None if their number is unknown."""
        if self.total is None:
            return None
        return self.read / self.total if self.total else 1.0


def _rows(piece: Batch, line: int) -> Iterator[Row | BadRow]:
    if piece.num_rows == 1 and piece.nbytes > ROW_CAP:
        yield too_long(line, b"")
        return
    try:
        values = piece.to_pylist()
    except Exception as error:  # no one family: text that is not UTF-8, dates out of range; find the row
        if piece.num_rows == 1:
            yield BadRow(line, b"", f"a value cannot be read: {type(error).__name__}")
            return
        for i in range(piece.num_rows):
            yield from _rows(piece.slice(i, 1), line + i)
        return
    for i, value in enumerate(values):
        yield _row(value, line + i)


def _row(value: dict[str, Any], line: int) -> Row | BadRow:
    """The row as JSON would carry it: dates become text, bytes base64, decimals text, NaN null."""
    try:
        raw = orjson.dumps(value, default=_as_json, option=orjson.OPT_NON_STR_KEYS)
    except orjson.JSONEncodeError as error:
        return BadRow(line, b"", f"a value has no JSON form: {error}")
    return Row(line, raw, orjson.loads(raw)) if len(raw) <= ROW_CAP else too_long(line, raw)


def _as_json(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


@contextmanager
def open_parquet(path: Path) -> Generator[Table, None, None]:
    """Raises InputError if the file is not Parquet."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputError(
            f"{path} is not a readable Parquet file", "Check that it was copied completely."
        ) from error
    with file:
        yield Table(_until_damage(file.iter_batches(batch_size=_BATCH)), file.metadata.num_rows)


def open_saved_dataset(path: Path, split: str) -> Table:
    """A dataset written by `save_to_disk`. Raises InputError if it cannot be read or has no such split."""
    import datasets

    try:
        saved = datasets.load_from_disk(path)
    except Exception as error:  # the library documents no set of errors
        raise InputError(
            f"the dataset in {path} cannot be read ({type(error).__name__})",
            "Save it again with datasets' save_to_disk.",
        ) from error
    if isinstance(saved, datasets.DatasetDict):
        if split not in saved:
            raise InputError(f"{path} has no split {split!r}", f"It has: {', '.join(map(str, saved))}.")
        saved = saved[split]
    return Table(_until_damage(saved.with_format("arrow").iter(batch_size=_BATCH)), len(saved))


def _until_damage(batches: Iterable[Batch]) -> Iterator[Batch]:
    """Damaged data as OSError, as in every other format."""
    import pyarrow as pa

    try:
        yield from batches
    except (pa.ArrowException, ValueError) as error:
        raise OSError(type(error).__name__) from error


def open_hub_dataset(name: str, split: str) -> Table:
    """A dataset on the Hugging Face hub, streamed. Raises InputError if it cannot be reached or read."""
    import datasets

    try:
        streamed = datasets.load_dataset(name, split=split, streaming=True)
    except Exception as error:  # the library documents no set of errors
        raise _hub_error(name, split, error) from error
    return Table(_streamed(name, split, streamed.with_format("arrow").iter(batch_size=_BATCH)), None)


def _streamed(name: str, split: str, batches: Iterable[Batch]) -> Iterator[Batch]:
    """A lost connection ends the reading with an error: unlike a truncated file, trying again helps."""
    try:
        yield from batches
    except Exception as error:
        raise _hub_error(name, split, error) from error


def _hub_error(name: str, split: str, error: Exception) -> InputError:
    return InputError(
        f"no file named {name}, and the Hugging Face dataset {name} (split {split!r}) cannot be read: "
        f"{type(error).__name__}",
        "Check the name and the network. Without a network, or for a dataset with several configurations, "
        "write it with datasets.load_dataset(...).to_parquet('rows.parquet') elsewhere and read that file.",
    )
