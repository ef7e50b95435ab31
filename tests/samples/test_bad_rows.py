"""A bad row costs only itself: it is counted and kept with its place and reason, and the rest goes on."""

from __future__ import annotations

import gzip
import io
import random
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.errors import InputError
from curation.samples import Rejects, read_samples
from curation.samples.compression import open_bytes
from curation.samples.json_array import array_rows
from curation.samples.rows import RAW_CAP, ROW_CAP, BadRow, jsonl_rows
from tests.samples.files import COMPRESSIONS, TEXT_FORMATS, as_bytes, compress, jsonl, write

GOOD = {"prompt": "q", "completion": "a"}


def read(path: Path, layout: str | None = None) -> tuple[list[str], list[dict[str, Any]]]:
    """Answers of the samples, and the rejects; both numbers agree with the counts."""
    rejects = Rejects(path.with_name("rejects.jsonl"))
    reading = read_samples(path, layout=layout, rejects=rejects)
    answers = [sample.answer for sample in reading]
    kept = []
    if rejects.path.exists():
        kept = [orjson.loads(line) for line in rejects.path.read_bytes().splitlines()]
    assert reading.rejected == len(kept)
    assert reading.rows == len(answers) + len(kept)
    return answers, kept


BAD_LINES = [
    (b'{"prompt": "q", "completion"', "broken JSON"),
    (b'{"prompt": "q", "completion": "\xff"}', "broken JSON"),
    (b'{"prompt": "q", "completion": "\\ud800"}', "broken JSON"),
    (b'{"prompt": "q", "completion": NaN}', "broken JSON"),
    (b'{"prompt": "q"} {}', "broken JSON"),
    (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "broken JSON"),
    (b'{"prompt": "q", "completion": "a", "x": ' + b"[" * 500 + b"]" * 500 + b"}", "nested too deeply"),
    (b"[1, 2]", "not a JSON object"),
    (b"null", "not a JSON object"),
    (b"17", "not a JSON object"),
    (b'{"prompt": "q"}', "no 'completion'"),
    (b'{"prompt": "q", "completion": ""}', "answer is empty"),
    (b'{"prompt": "q", "completion": " \\n"}', "answer is empty"),
    (b'{"prompt": "q", "completion": "a\\u0000"}', "NUL"),
    (b'{"prompt": "q", "completion": 5}', "not text"),
    (b'{"prompt": [{"role": "wizard", "content": "q"}], "completion": "a"}', "role 'wizard'"),
    (b'{"prompt": "q", "completion": "' + b"a" * 1_000_001 + b'"}', "over the cap"),
]


# An element that never ends takes the rest of its array with it, so that one is for lines only.
BAD_ROWS = [("jsonl", *bad) for bad in BAD_LINES] + [("json", *bad) for bad in BAD_LINES[1:]]


@pytest.mark.parametrize(("form", "line", "reason"), BAD_ROWS, ids=range(len(BAD_ROWS)))
def test_a_bad_row_is_kept_with_its_reason_and_the_rest_goes_on(
    tmp_path: Path, form: str, line: bytes, reason: str
) -> None:
    rows = [orjson.dumps(GOOD), line, orjson.dumps({**GOOD, "completion": "b"})]
    data = b"\n".join(rows) if form == "jsonl" else b"[" + b",\n".join(rows) + b"]"
    path = write(tmp_path / f"rows.{form}", data)
    answers, ((kept),) = read(path)
    assert answers == ["a", "b"]
    assert reason in kept["reason"]
    assert (kept["file"], kept["line"]) == (str(path), 2)
    assert line.decode(errors="replace").startswith(kept["raw"][:RAW_CAP].strip())
    assert len(kept["raw"]) <= RAW_CAP


CSV = b"prompt,completion\r\nq,a\r\n%s\r\nq,b\r\n"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"q", "1 fields where the header has 2"),
        (b"q,a,extra", "3 fields where the header has 2"),
        (b"q,\xff", "not UTF-8"),
        (b'q,"a" b', "broken CSV"),
        (b'q,""', "answer is empty"),
        (b"q,a\x00", "NUL"),
    ],
)
def test_a_bad_csv_row_costs_only_itself(tmp_path: Path, line: bytes, reason: str) -> None:
    answers, (kept,) = read(write(tmp_path / "rows.csv", CSV % line))
    assert answers == ["a", "b"]
    assert reason in kept["reason"]
    assert kept["line"] == 3
    assert kept["raw"].strip() == line.decode(errors="replace")


def test_an_unclosed_quote_is_one_reject_and_never_a_sample(tmp_path: Path) -> None:
    answers, (kept,) = read(write(tmp_path / "rows.csv", CSV % b'q,"never closed'))
    assert answers == ["a"]
    assert (kept["line"], kept["reason"]) == (3, "broken CSV: unexpected end of data")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_a_row_over_the_cap_is_passed_over(tmp_path: Path, form: str, compression: str) -> None:
    huge = {**GOOD, "completion": "x" * (ROW_CAP + 100)}
    data = as_bytes([GOOD, huge, {**GOOD, "completion": "b"}], form)
    answers, (kept, *others) = read(write(tmp_path / f"rows.{form}{compression}", data))
    assert answers == ["a", "b"]
    assert kept["reason"] == "longer than 16 MiB"
    assert not others


def test_a_bomb_of_one_endless_line_is_passed_over(tmp_path: Path) -> None:
    endless = b'{"prompt": "' + b"\0" * (4 * ROW_CAP)
    for suffix in (".gz", ".zst"):
        path = write(tmp_path / f"rows.jsonl{suffix}", jsonl([GOOD]) + endless)
        answers, (kept,) = read(path)
        assert answers == ["a"]
        assert kept["reason"] == "longer than 16 MiB"


def readable_part(path: Path) -> bytes:
    parts: list[bytes] = []
    with open_bytes(path) as opened, suppress(EOFError):
        while data := opened.stream.read1(2**16):
            parts.append(data)
    return b"".join(parts)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("form", TEXT_FORMATS)
def test_every_row_before_a_truncation_is_read_and_the_break_is_one_reject(
    tmp_path: Path, form: str, suffix: str
) -> None:
    noise = random.Random(1)
    rows = [{**GOOD, "completion": noise.randbytes(20).hex()} for _ in range(10_000)]
    whole = compress(as_bytes(rows, form), suffix)
    path = tmp_path / f"rows.{form}{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    headers = 1 if form in ("csv", "tsv") else 0
    complete = readable_part(path).count(b"}," if form == "json" else b"\n") - headers
    answers, (kept,) = read(path)
    assert len(answers) == complete > 1000
    assert answers == [row["completion"] for row in rows[:complete]]
    assert kept["line"] == complete + headers + 1
    assert "damaged or cut short" in kept["reason"]


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_damage_is_a_reject(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.jsonl{suffix}"
    path.write_bytes(compress(jsonl([GOOD] * 3), suffix) + b"no frame at all")
    answers, (kept,) = read(path)
    assert answers == ["a"] * 3
    assert kept["line"] == 4


def test_a_file_cut_within_its_last_line_costs_that_line(tmp_path: Path) -> None:
    answers, (kept,) = read(write(tmp_path / "rows.jsonl", jsonl([GOOD] * 3)[:-5]))
    assert answers == ["a", "a"]
    assert kept["line"] == 3


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"", "breaks off"),
        (b",", "breaks off"),
        (b', {"prompt": "q", "compl', "breaks off"),
        (b',{"prompt": "unclosed}]', "breaks off"),
        (b",]", "broken JSON"),
        (b',,{"prompt": "q", "completion": "a"}]', "broken JSON"),
        (b"] trailing", "text after the end"),
        (b"]" + b" " * 2**17 + b"[", "text after the end"),
        (b"}]", "text after the end"),
    ],
)
def test_a_broken_array_keeps_its_good_elements(tmp_path: Path, tail: bytes, reason: str) -> None:
    start = b"[" + orjson.dumps(GOOD) + b"," + orjson.dumps(GOOD)
    answers, (kept,) = read(write(tmp_path / "rows.json", start + tail))
    assert answers == ["a"] * (3 if tail.startswith(b",,") else 2)
    assert reason in kept["reason"]
    assert kept["line"] == 3


JSON_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\[]{},:'), inner, max_size=3),
    max_leaves=6,
)


class _Trickle(io.BufferedReader):
    """Gives a few bytes at a time, so that every boundary falls between two chunks once."""

    def __init__(self, data: bytes, step: int) -> None:
        super().__init__(io.BytesIO(data))  # type: ignore[arg-type]
        self._step = step

    def read1(self, size: int = -1, /) -> bytes:
        return super().read1(self._step)


@settings(deadline=None)
@given(
    st.lists(st.dictionaries(st.text('a"\\[]{},:'), JSON_VALUES, max_size=3), max_size=5),
    st.booleans(),
    st.integers(min_value=1, max_value=40),
)
def test_an_array_is_split_where_a_parser_would(rows: list[dict[str, Any]], indent: bool, step: int) -> None:
    data = orjson.dumps(rows, option=orjson.OPT_INDENT_2 if indent else 0)
    split = list(array_rows(_Trickle(data, step)))
    assert [row.line for row in split] == list(range(1, len(rows) + 1))
    assert [None if isinstance(row, BadRow) else row.fields for row in split] == rows


LINES = st.lists(
    st.tuples(
        st.just(True), st.text(st.characters(codec="utf-8", exclude_characters="\0")).filter(str.strip)
    ).map(lambda pair: (orjson.dumps({**GOOD, "completion": pair[1]}), pair[1]))
    | st.binary(min_size=1).map(lambda junk: b"!" + junk.replace(b"\n", b"")).map(lambda line: (line, None))
    | st.sampled_from([(line, None) for line, _ in BAD_LINES[:5]]),
    max_size=30,
)


@given(LINES)
@settings(max_examples=60, deadline=None)
def test_any_mix_of_good_and_broken_lines_is_all_accounted_for(mix: list[tuple[bytes, str | None]]) -> None:
    mix = [(orjson.dumps(GOOD), "a"), *mix]
    with TemporaryDirectory() as folder:
        answers, kept = read(write(Path(folder, "rows.jsonl"), b"\n".join(line for line, _ in mix)))
    assert answers == [answer for _, answer in mix if answer is not None]
    assert [reject["line"] for reject in kept] == [
        i for i, (_, answer) in enumerate(mix, 1) if answer is None
    ]


@given(
    st.binary(max_size=400) | st.text('[]{}",:\\ \npromtcle0', max_size=200).map(str.encode),
    st.sampled_from(TEXT_FORMATS),
    st.sampled_from(COMPRESSIONS),
    st.booleans(),
    st.sampled_from([None, "messages", "prompt-completion"]),
)
@settings(max_examples=300, deadline=None)
def test_arbitrary_bytes_never_crash_a_reader(
    data: bytes, form: str, compression: str, compressed: bool, layout: str | None
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"rows.{form}{compression}")
        path.write_bytes(compress(data, compression) if compressed else data)
        with suppress(InputError):
            read(path, layout)


def test_rejects_of_an_earlier_reading_are_replaced(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", jsonl([GOOD]) + b"bad\nworse\n")
    assert len(read(path)[1]) == 2
    assert len(read(path)[1]) == 2
    write(path, jsonl([GOOD]))
    assert read(path) == (["a"], [])
    assert not (tmp_path / "rejects.jsonl").exists()


def test_rejects_are_on_disk_before_the_next_row_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b"bad\n" + jsonl([GOOD, GOOD]))
    rejects = Rejects(tmp_path / "rejects.jsonl")
    running = iter(read_samples(path, rejects=rejects))
    next(running)
    assert b"broken JSON" in rejects.path.read_bytes()
    next(running)


def test_rejects_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", b"bad\n" + jsonl([GOOD]))
    reading = read_samples(path, rejects=Rejects(tmp_path / "missing" / "rejects.jsonl"))
    with pytest.raises(InputError, match="cannot be written"):
        list(reading)


def test_a_source_is_never_overwritten_by_its_own_rejects(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", jsonl([GOOD]))
    with pytest.raises(InputError, match="its own rejects"):
        read_samples(path, rejects=Rejects(path))
    assert path.read_bytes() == jsonl([GOOD])


def test_reasons_hold_no_text_of_the_sample(tmp_path: Path) -> None:
    secret = "s3cret"
    rows: list[bytes] = [
        b'{"prompt": "%s", "completion": "' % secret.encode(),
        orjson.dumps({"prompt": secret, "completion": [secret]}),
        orjson.dumps({"prompt": secret, "completion": secret + "\0"}),
        orjson.dumps({"prompt": [{"role": "user", "content": {"x": secret}}], "completion": "a"}),
    ]
    _, kept = read(write(tmp_path / "rows.jsonl", jsonl([GOOD]) + b"\n".join(rows)))
    assert len(kept) == len(rows)
    assert not any(secret in reject["reason"] for reject in kept)


def test_a_zstd_frame_may_be_empty_or_skipped(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (3).to_bytes(4, "little") + b"abc"
    path = tmp_path / "rows.jsonl.zst"
    path.write_bytes(zstandard.compress(b"") + skippable + zstandard.compress(jsonl([GOOD])))
    assert read(path) == (["a"], [])


def test_gzip_padding_is_no_damage(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl([GOOD])) + bytes(512))
    assert read(path) == (["a"], [])


def test_a_line_of_exactly_the_cap_is_read() -> None:
    line = b'{"x": "' + b"a" * (ROW_CAP - 9) + b'"}'
    (whole,) = jsonl_rows(io.BytesIO(line))
    (cut,) = jsonl_rows(io.BytesIO(b" " + line))
    assert not isinstance(whole, BadRow)
    assert isinstance(cut, BadRow)
