"""Memory and speed of reading a long file: rows, growth of the peak resident set, rows per second.

    python benchmarks/ingest_memory.py --rows 1000000 --format jsonl.gz

The file is generated beforehand by a process of its own, so that only the reading is measured.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curation.samples import read_samples

FORMATS = ("jsonl", "jsonl.gz", "jsonl.zst", "json", "csv", "parquet")


def rows(count: int) -> Iterator[dict[str, Any]]:
    for i in range(count):
        yield {
            "instruction": f"What comes after {i}?",
            "input": "",
            "output": f"After {i} comes {i + 1}.",
            "id": i,
        }


def generate(path: Path, count: int) -> None:
    if path.suffix == ".parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(rows(count))), path)  # one row group: the hardest case
        return
    with open_text(path) as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, ["instruction", "input", "output", "id"])
            writer.writeheader()
            writer.writerows(rows(count))
        elif path.suffix == ".json":
            file.write("[\n")
            file.writelines((",\n" if i else "") + json.dumps(row) for i, row in enumerate(rows(count)))
            file.write("\n]\n")
        else:
            file.writelines(json.dumps(row) + "\n" for row in rows(count))


def open_text(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "wt", encoding="utf-8", compresslevel=1)
    if path.suffix == ".zst":
        import zstandard

        return zstandard.open(path, "wt", encoding="utf-8")
    return path.open("w", encoding="utf-8", newline="")


def peak_mib() -> float:
    """Largest resident set of this process so far."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def measure(path: Path) -> None:
    reading = read_samples(path)
    next(iter(reading))  # imports and first buffers are no part of the growth
    before = peak_mib()
    start = time.perf_counter()
    samples = sum(1 for _ in reading)
    seconds = time.perf_counter() - start
    growth = peak_mib() - before
    print(
        f"{path.name:14} {path.stat().st_size / 2**20:7.1f} MiB  {samples:>9,} rows  "
        f"peak RSS {before:5.0f} + {growth:.1f} MiB  {samples / seconds:>9,.0f} rows/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--format", choices=FORMATS, action="append", help="default: all of them")
    options = parser.parse_args()
    # spawned, because a forked child starts with its parent's peak
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.format or FORMATS:
            path = Path(folder) / f"rows.{name}"
            for step, arguments in ((generate, (path, options.rows)), (measure, (path,))):
                process = context.Process(target=step, args=arguments)
                process.start()
                process.join()
                if process.exitcode:
                    sys.exit(process.exitcode)
            path.unlink()


if __name__ == "__main__":
    main()
