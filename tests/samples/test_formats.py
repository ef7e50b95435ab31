"""Every format and compression gives the same samples; what cannot be opened says what to do next."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest

from curation.errors import InputError
from curation.samples import Sample, read_samples
from tests.samples.files import COMPRESSIONS, TEXT_FORMATS, as_bytes, compress, jsonl, write, write_parquet

ROWS: list[dict[str, Any]] = [
    {"instruction": "Plain", "input": "", "output": "answer", "id": "1"},
    {"instruction": 'Quotes "and", commas', "input": "tab\there", "output": "two\nlines", "id": "2"},
    {"instruction": "Unicode é 漢字 🙂", "input": "crlf\r\nkept", "output": "  spaces kept  ", "id": "3"},
    {"instruction": "Brackets ]}[{ and \\ \\\" escapes", "input": "", "output": "a,b\\", "id": "4"},
    {"instruction": "Looks like an end", "input": '"}]', "output": "\u2028 line separator", "id": "5"},
]  # fmt: skip


def contents(path: Path | str, **options: Any) -> list[tuple[list[dict[str, str]], Any]]:
    return [(sample.as_chat(), sample.metadata) for sample in read_samples(path, **options)]


@pytest.fixture
def expected(tmp_path: Path) -> list[tuple[list[dict[str, str]], Any]]:
    rows = contents(write(tmp_path / "expected.jsonl", jsonl(ROWS)))
    assert [chat[-1]["content"] for chat, _ in rows] == [row["output"] for row in ROWS]
    assert [metadata for _, metadata in rows] == [{"id": row["id"]} for row in ROWS]
    return rows


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_text_formats_agree(tmp_path: Path, expected: Any, form: str, compression: str) -> None:
    path = write(tmp_path / f"rows.{form}{compression}", as_bytes(ROWS, form))
    reading = read_samples(path)
    assert contents(path) == expected
    assert (reading.format, reading.layout.name) == (form, "alpaca")


def test_parquet_agrees(tmp_path: Path, expected: Any) -> None:
    assert contents(write_parquet(tmp_path / "rows.parquet", ROWS)) == expected


def test_saved_datasets_agree(tmp_path: Path, expected: Any) -> None:
    saved = datasets.Dataset.from_list(ROWS)
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": saved, "held_out": saved.select([0])}).save_to_disk(tmp_path / "splits")
    assert contents(tmp_path / "one") == expected
    assert contents(tmp_path / "splits") == expected
    assert contents(tmp_path / "splits", split="held_out") == expected[:1]
    with pytest.raises(InputError, match="no split 'test'") as caught:
        read_samples(tmp_path / "splits", split="test")
    assert "held_out" in caught.value.hint


def test_a_selection_of_a_saved_dataset_keeps_its_order(tmp_path: Path, expected: Any) -> None:
    datasets.Dataset.from_list(ROWS).select([3, 0]).save_to_disk(tmp_path / "picked")
    assert contents(tmp_path / "picked") == [expected[3], expected[0]]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_a_byte_order_mark_is_no_part_of_the_first_row(
    tmp_path: Path, expected: Any, form: str, compression: str
) -> None:
    data = b"\xef\xbb\xbf" + as_bytes(ROWS, form)
    assert contents(write(tmp_path / f"rows.{form}{compression}", data)) == expected


def test_json_lines_in_a_json_file_are_told_from_an_array(tmp_path: Path, expected: Any) -> None:
    path = write(tmp_path / "rows.json", b"\n  " + jsonl(ROWS))
    assert read_samples(path).format == "jsonl"
    assert contents(path) == expected


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_concatenated_compressed_files_are_one(tmp_path: Path, expected: Any, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(compress(jsonl(ROWS[:2]), suffix) + compress(jsonl(ROWS[2:]), suffix))
    assert contents(path) == expected


def test_a_csv_cell_can_hold_a_chat_as_json(tmp_path: Path) -> None:
    cell = '[{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]'
    path = write(tmp_path / "chat.csv", as_bytes([{"messages": cell}], "csv"))
    assert [sample.answer for sample in read_samples(path)] == ["b"]


def lines(path: Path) -> list[int]:
    return [sample.source.line for sample in read_samples(path) if sample.source]


def test_samples_know_their_line_or_row(tmp_path: Path) -> None:
    assert lines(write(tmp_path / "a.jsonl", b"\n" + jsonl(ROWS[:2]) + b"\n" + jsonl(ROWS[2:3]))) == [2, 3, 5]
    assert lines(write(tmp_path / "a.json", as_bytes(ROWS[:3], "json"))) == [1, 2, 3]
    # the header is line 1, the second row runs over two lines and so does the third
    assert lines(write(tmp_path / "a.csv", as_bytes(ROWS[:4], "csv"))) == [2, 3, 5, 7]
    assert lines(write_parquet(tmp_path / "a.parquet", ROWS[:3])) == [1, 2, 3]


def test_a_source_is_named_as_the_user_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.jsonl", jsonl(ROWS[:1]))
    monkeypatch.chdir(tmp_path)
    (sample,) = read_samples("a.jsonl")
    assert str(sample.source) == "a.jsonl:1"


def test_a_file_name_that_is_not_unicode_can_be_read(tmp_path: Path) -> None:
    path = write(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jsonl")), jsonl(ROWS[:1]))
    (sample,) = read_samples(path)
    assert sample.source
    assert sample.source.file.encode()


def test_a_reading_can_be_repeated_and_knows_how_far_it_is(tmp_path: Path) -> None:
    noise = random.Random(1)  # else the compressed file would be a single block
    rows = [{**ROWS[i % 5], "id": noise.randbytes(40).hex()} for i in range(10_000)]
    paths = [write(tmp_path / f"rows.{form}", as_bytes(rows, form)) for form in TEXT_FORMATS]
    paths += [write(tmp_path / f"rows.jsonl{suffix}", jsonl(rows)) for suffix in (".gz", ".zst")]
    paths.append(write_parquet(tmp_path / "rows.parquet", rows))
    for path in paths:
        reading = read_samples(path)
        assert reading.fraction == 0
        seen = [reading.fraction or 0 for _ in reading]
        assert seen == sorted(seen)
        assert 0 <= seen[0] < 0.5 < seen[-1] <= 1
        assert reading.fraction == 1
        assert sum(1 for _ in reading) == reading.rows == 10_000


def test_an_abandoned_reading_can_start_again(tmp_path: Path) -> None:
    reading = read_samples(write(tmp_path / "a.jsonl", jsonl(ROWS)))
    first: list[Sample] = [next(iter(reading)) for _ in range(2)]
    assert first[0] == first[1]
    assert len(list(reading)) == len(ROWS)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("empty.jsonl", b"", "no rows"),
        ("empty.json", b"[]", "no rows"),
        ("empty.csv", b"instruction,output\n", "no rows"),
        ("blank.jsonl", b"\n \n\n", "no rows"),
        ("object.json", b'{\n  "data": []\n}', "no row of .* can be read"),
        ("numbers.json", b"[1, 2]", "no row of .* can be read"),
        ("not.parquet", b"instruction", "not a readable Parquet"),
        ("not.jsonl.gz", b"instruction", "no row of .* can be read"),
        ("not.json.zst", b"instruction", "no row of .* can be read"),
        ("twice.csv", b"output,output\na,b\n", "no row of .* can be read"),
        ("fields.csv", b"question,answer\na,b\n", "no known layout"),
        ("rows.txt", b"text", "format of .* is not known"),
        ("rows.parquet.gz", b"text", "format of .* is not known"),
        ("rows.gz", b"text", "format of .* is not known"),
    ],
)
def test_an_unusable_file_says_so(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_samples(path)
    assert caught.value.hint


def test_a_missing_file_or_plain_directory_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        read_samples(tmp_path / "missing.jsonl")
    with pytest.raises(InputError, match="no file missing"):
        read_samples("missing")
    with pytest.raises(InputError, match="a directory but no saved dataset"):
        read_samples(tmp_path)
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(InputError, match="cannot be read"):
        read_samples(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="no pipes in the file system")
def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "rows.jsonl")
    with pytest.raises(InputError, match="not a regular file"):
        read_samples(tmp_path / "rows.jsonl")


def in_fresh_python(code: str) -> str:
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    return run.stdout


def test_a_hub_dataset_without_a_network_says_what_to_do() -> None:
    out = in_fresh_python(
        "from curation.errors import InputError\n"
        "from curation.samples import read_samples\n"
        "try: read_samples('someone/something')\n"
        "except InputError as error: print(error)"
    )
    assert "someone/something" in out
    assert "to_parquet" in out


def test_importing_samples_is_light() -> None:
    heavy = "{'torch', 'datasets', 'pyarrow', 'zstandard', 'pandas'}"
    out = in_fresh_python(f"import sys, curation.samples; print(sorted({heavy} & set(sys.modules)))")
    assert out.strip() == "[]"
