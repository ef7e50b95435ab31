"""Data files of an export: JSON lines in shards of bounded size, turned into tables where the format asks for it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from curation.errors import GateError
from curation.gate.formats import Format
from curation.samples.inputs import open_rows
from curation.samples.rows import BadRow

SHARD_BYTES = 256 * 2**20
"""A shard is closed with the row that reaches this size."""

_BATCH = 1000

Schema = Any
"""A pyarrow Schema: pyarrow has no types, and is imported only where it is needed."""


class Shards:
    """JSON lines spread over `data-00000.jsonl`, `data-00001.jsonl` and so on."""

    def __init__(self, folder: Path) -> None:
        self.paths: list[Path] = []
        self._folder = folder
        self._file: BinaryIO | None = None
        self._bytes = 0

    def add(self, row: bytes) -> None:
        """Append a row of JSON without its line break."""
        if self._file is None or self._bytes >= SHARD_BYTES:
            self.close()
            self.paths.append(self._folder / f"data-{len(self.paths):05d}.jsonl")
            self._file = self.paths[-1].open("xb")
            self._bytes = 0
        self._file.write(row + b"\n")
        self._bytes += len(row) + 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def finish(paths: Sequence[Path], form: Format, folder: Path) -> list[Path]:
    """Turn JSON lines into what the format is made of, in place; returns the sources its rows are read from.

    Raises GateError if a table cannot hold the rows.
    """
    if form not in ("parquet", "hf"):
        return list(paths)
    schema = _common_schema(paths)
    tables = [_to_parquet(path, schema) for path in paths]
    for path in paths:
        path.unlink()
    return tables if form == "parquet" else [_to_dataset(tables, folder)]


def rows_of(sources: Sequence[Path], form: Format) -> Iterator[dict[str, Any]]:
    """The rows of an export's data in order, as JSON would carry them. Raises GateError where they cannot be read."""
    kind = {"parquet": "parquet", "hf": "saved dataset"}.get(form, "jsonl")
    for source in sources:
        with open_rows(str(source), kind, "train") as opened:  # pyright: ignore[reportArgumentType]
            for row in opened.rows:
                if isinstance(row, BadRow):
                    raise GateError(f"row {row.line} of {source.name} cannot be read: {row.reason}")
                yield row.fields


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open("rb") as file:
        while rows := [orjson.loads(line) for line in islice(file, _BATCH)]:
            yield rows


def _common_schema(paths: Sequence[Path]) -> Schema:
    """One schema that all rows fit. Raises GateError, naming the field, if there is none."""
    import pyarrow as pa

    kinds: dict[str, Any] = {}
    for path in paths:
        for rows in _batches(path):
            for name in dict.fromkeys(name for row in rows for name in row):
                try:
                    kind = pa.array([row.get(name) for row in rows]).type
                    known = pa.schema([(name, kinds.get(name, kind))])
                    both = pa.unify_schemas([known, pa.schema([(name, kind)])], promote_options="permissive")
                    kinds[name] = both.field(name).type
                except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
                    raise _no_column(name, error) from error
    return pa.schema(list(kinds.items()))


def _to_parquet(path: Path, schema: Schema) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = path.with_suffix(".parquet")
    try:
        with pq.ParquetWriter(table, schema, compression="zstd") as writer:
            for rows in _batches(path):
                columns = {name: [row.get(name) for row in rows] for name in schema.names}
                writer.write_table(pa.table(columns, schema=schema))
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise _no_column("", error) from error
    return table


def _to_dataset(tables: Sequence[Path], folder: Path) -> Path:
    """A dataset for `datasets.load_from_disk`, in constant memory; the tables it was made of are removed."""
    import datasets
    from datasets.exceptions import DatasetGenerationError

    cache, target = folder / "cache", folder / "data"
    shown = datasets.is_progress_bar_enabled()
    datasets.disable_progress_bars()
    try:
        made: Any = datasets.Dataset.from_parquet([str(table) for table in tables], cache_dir=str(cache))
        made.save_to_disk(target)
    except DatasetGenerationError as error:
        cause = error.__cause__
        raise cause if isinstance(cause, OSError) else _no_column("", error) from error
    finally:
        if shown:
            datasets.enable_progress_bars()
    shutil.rmtree(cache)
    for table in tables:
        table.unlink()
    return target


def _no_column(name: str, error: Exception) -> GateError:
    field = f"the field {name!r:.80} holds" if name else "a field holds"
    return GateError(
        f"{field} values that one column of a table cannot hold ({type(error).__name__})",
        "Nothing was written. Use --format jsonl.",
    )
