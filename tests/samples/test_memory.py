"""Reading takes the same memory however long the file is."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from curation.samples import read_samples
from tests.samples.files import as_bytes, write, write_parquet

ROWS = [
    {"prompt": f"Question number {i}?", "completion": f"The answer is {i}." * 10, "id": i}
    for i in range(50_000)
]
FORMATS = ("jsonl", "jsonl.gz", "jsonl.zst", "json", "csv", "parquet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("long")
    for name in FORMATS:
        if name == "parquet":
            write_parquet(folder / "rows.parquet", ROWS)
        else:
            write(folder / f"rows.{name}", as_bytes(ROWS, name.partition(".")[0]))
    return folder


@pytest.mark.parametrize("name", FORMATS)
def test_memory_stays_flat(folder: Path, name: str) -> None:
    path = folder / f"rows.{name}"
    next(iter(read_samples(path)))  # what is imported on the way is no part of the rows
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_samples(path)) == len(ROWS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20 < (folder / "rows.jsonl").stat().st_size / 5
