"""Writes the same rows in every format the readers know."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

Rows = Sequence[dict[str, Any]]

TEXT_FORMATS = ("jsonl", "json", "csv", "tsv")
COMPRESSIONS = ("", ".gz", ".zst")


def jsonl(rows: Rows) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


def as_bytes(rows: Rows, form: str) -> bytes:
    if form == "jsonl":
        return jsonl(rows)
    if form == "json":
        return orjson.dumps(list(rows), option=orjson.OPT_INDENT_2)
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, list(rows[0]), delimiter="," if form == "csv" else "\t")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue().encode()


def compress(data: bytes, suffix: str) -> bytes:
    match suffix:
        case ".gz":
            return gzip.compress(data)
        case ".zst":
            return zstandard.compress(data)
        case _:
            return data


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(compress(data, path.suffix))
    return path


def write_parquet(path: Path, rows: Rows) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path
