"""What Arrow can hold comes out as plain JSON values, and one bad value costs one row."""

from __future__ import annotations

import datetime
import decimal
import random
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curation.errors import InputError
from curation.samples import Rejects, Sample, read_samples
from curation.samples.rows import ROW_CAP
from curation.samples.tables import Table

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pq.write_table(pa.table(columns), path, **options)
    return path


def test_lists_of_structs_are_chats(tmp_path: Path) -> None:
    columns = {"messages": [CHAT, CHAT], "tags": [["x"], None]}
    samples = list(read_samples(parquet(tmp_path / "a.parquet", columns)))
    assert [sample.as_chat() for sample in samples] == [CHAT, CHAT]
    assert [sample.metadata for sample in samples] == [{"tags": ["x"]}, {"tags": None}]


def test_every_value_becomes_json(tmp_path: Path) -> None:
    moment = datetime.datetime(2024, 5, 6, 7, 8, 9)
    columns = {
        "prompt": ["q"],
        "completion": ["a"],
        "vector": [np.array([1.5, 2.5], dtype=np.float32)],
        "nan": [float("nan")],
        "infinite": [float("inf")],
        "moment": pa.array([moment], pa.timestamp("us")),
        "nanoseconds": pa.array([1_000_000_001], pa.timestamp("ns")),
        "day": [moment.date()],
        "span": [datetime.timedelta(seconds=90)],
        "bytes": [b"\x00\xff"],
        "decimal": [decimal.Decimal("1.10")],
        "large": pa.array([2**64 - 1], pa.uint64()),
        "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        "category": pa.array(["c"]).dictionary_encode(),
    }
    (sample,) = read_samples(parquet(tmp_path / "a.parquet", columns))
    assert orjson.loads(orjson.dumps(sample.metadata)) == sample.metadata
    assert sample.metadata == {
        "vector": [1.5, 2.5],
        "nan": None,
        "infinite": None,
        "moment": "2024-05-06T07:08:09",
        "nanoseconds": "1970-01-01 00:00:01.000000001",
        "day": "2024-05-06",
        "span": "0:01:30",
        "bytes": "AP8=",
        "decimal": "1.10",
        "large": 2**64 - 1,
        "map": [["k", 1]],
        "category": "c",
    }


def invalid_utf8(values: list[bytes]) -> pa.Array:
    """A string column whose bytes nobody checked, as other writers can leave it."""
    checked = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(values), checked.buffers())


def test_text_that_is_not_utf8_costs_one_row(tmp_path: Path) -> None:
    answers = invalid_utf8([b"a", b"\xff", b"c"])
    path = parquet(tmp_path / "a.parquet", {"prompt": ["q"] * 3, "completion": answers})
    rejects = Rejects(tmp_path / "rejects.jsonl")
    reading = read_samples(path, rejects=rejects)
    assert [(sample.answer, sample.source.line) for sample in reading if sample.source] == [
        ("a", 1),
        ("c", 3),
    ]
    (kept,) = map(orjson.loads, rejects.path.read_bytes().splitlines())
    assert (kept["line"], kept["reason"]) == (2, "a value cannot be read: UnicodeDecodeError")


def test_a_row_over_the_cap_costs_only_itself(tmp_path: Path) -> None:
    answers = ["a", "x" * (ROW_CAP + 1), "c"]
    path = parquet(tmp_path / "a.parquet", {"prompt": ["q"] * 3, "completion": answers})
    rejects = Rejects(tmp_path / "rejects.jsonl")
    assert [sample.answer for sample in read_samples(path, rejects=rejects)] == ["a", "c"]
    (kept,) = map(orjson.loads, rejects.path.read_bytes().splitlines())
    assert (kept["line"], kept["reason"]) == (2, "longer than 16 MiB")


def test_null_fields_do_not_hide_the_layout(tmp_path: Path) -> None:
    columns = {"messages": pa.array([None], pa.list_(pa.string())), "prompt": ["q"], "completion": ["a"]}
    reading = read_samples(parquet(tmp_path / "a.parquet", columns))
    assert reading.layout.name == "prompt-completion"
    assert [sample.answer for sample in reading] == ["a"]


def test_row_groups_are_one_table(tmp_path: Path) -> None:
    answers = [str(i) for i in range(1000)]
    path = parquet(tmp_path / "a.parquet", {"prompt": answers, "completion": answers}, row_group_size=70)
    read = [(sample.answer, sample.source.line) for sample in read_samples(path) if sample.source]
    assert read == [(str(i), i + 1) for i in range(1000)]


def test_broken_bytes_anywhere_in_a_table_never_crash_the_reader(tmp_path: Path) -> None:
    columns = {"messages": [CHAT] * 300, "n": list(range(300))}
    path = parquet(tmp_path / "a.parquet", columns, row_group_size=100, compression="none")
    whole = path.read_bytes()
    noise = random.Random(1)
    readable = 0
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(3):
            data[noise.randrange(len(data))] = noise.randrange(256)
        path.write_bytes(data)
        with suppress(InputError):
            reading = read_samples(path)
            assert sum(1 for _ in reading) + reading.rejected == reading.rows
            readable += 1
    assert 0 < readable < 150


def damage(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    place = int(len(data) * at)
    data[place : place + 200] = bytes(200)
    path.write_bytes(data)


def test_the_good_rows_before_damage_are_read_and_the_break_is_one_reject(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    answers = [noise.bytes(50).hex() for _ in range(4000)]
    columns = {"prompt": ["q"] * 4000, "completion": answers}
    path = parquet(tmp_path / "a.parquet", columns, row_group_size=500, compression="snappy")
    damage(path, 0.5)
    reading = read_samples(path)
    read = [sample.answer for sample in reading]
    assert 500 <= len(read) < 4000
    assert read == answers[: len(read)]
    assert reading.rejected == 1


def test_fields_of_a_dataset_are_not_decoded(tmp_path: Path) -> None:
    features = datasets.Features({"prompt": datasets.Value("string"), "completion": datasets.Value("string"),
                                  "label": datasets.ClassLabel(names=["no", "yes"])})  # fmt: skip
    rows = {"prompt": ["q"], "completion": ["a"], "label": [1]}
    datasets.Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    (sample,) = read_samples(tmp_path / "saved")
    assert sample.metadata == {"label": 1}


def test_a_streamed_dataset_gives_the_same_rows() -> None:
    saved = datasets.Dataset.from_dict({"messages": [CHAT] * 600, "n": list(range(600))})
    streamed = saved.to_iterable_dataset().with_format("arrow").iter(batch_size=256)
    rows = list(Table(streamed, None).rows())
    assert [row.line for row in rows] == list(range(1, 601))
    assert [getattr(row, "fields", None) for row in rows] == [{"messages": CHAT, "n": n} for n in range(600)]


def peak_of_unfolding(batch: Any, count: int) -> int:
    text = "x" * (ROW_CAP // 4)
    table = Table([batch.from_pydict({"prompt": [text] * count})], count)
    tracemalloc.start()
    try:
        assert [getattr(row, "fields", None) == {"prompt": text} for row in table.rows()] == [True] * count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("batch", [pa.RecordBatch, pa.Table])
def test_a_batch_over_the_cap_is_unfolded_row_by_row(batch: Any) -> None:
    assert peak_of_unfolding(batch, 48) < 1.2 * peak_of_unfolding(batch, 6)


def test_parquet_samples_equal_those_of_json(tmp_path: Path) -> None:
    rows = [{"messages": CHAT, "id": i, "nested": {"a": [1.0, None]}} for i in range(3)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    expected = [
        Sample.from_messages(CHAT, metadata={"id": i, "nested": {"a": [1.0, None]}}) for i in range(3)
    ]
    found = list(read_samples(tmp_path / "a.parquet"))
    assert found == expected
    assert [sample.metadata for sample in found] == [sample.metadata for sample in expected]
