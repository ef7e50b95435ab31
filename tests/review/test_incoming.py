"""A file of decisions is taken as a whole or not at all, and says which rows are wrong."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from curation.errors import InputError, LedgerError
from curation.review.incoming import read_decisions

ROW = {"id": "abcdef12", "verdict": "reject", "reviewer": "ada", "decided_at": "2026-03-14T09:26:00+01:00"}


def find_text(prefix: str) -> str:
    if prefix == "000000":
        raise LedgerError("no sample's id begins with '000000'")
    return prefix.ljust(64, "0")


def file(tmp_path: Path, *rows: Any) -> str:
    path = tmp_path / "decisions.jsonl"
    path.write_text("".join(row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_csv_and_jsonl_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "decisions.csv"
    path.write_text(
        "reviewer,id,verdict,decided_at,reason,note,assignee\n"
        'ada,abcdef12,reject,2026-03-14T08:26:00Z,"pii, twice",,x\n'
    )
    from_csv = read_decisions(str(path), find_text)
    assert from_csv == read_decisions(file(tmp_path, ROW | {"reason": "pii, twice"}), find_text)
    assert from_csv[0].decided_at == datetime(2026, 3, 14, 8, 26, tzinfo=UTC)
    assert (from_csv[0].content_hash, from_csv[0].note, from_csv[0].source) == (
        find_text("abcdef12"),
        None,
        "file",
    )


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (ROW | {"verdict": "Reject!"}, "verdict"),
        (ROW | {"reviewer": ""}, "reviewer"),
        (ROW | {"decided_at": ""}, "decided_at"),
        (ROW | {"decided_at": "2026-03-14T09:26:00"}, "timezone"),
        (ROW | {"decided_at": "0001-01-01T00:00:00Z"}, "no time"),
        (ROW | {"id": "000000"}, "no sample's id"),
        ({}, "id"),
        ("{broken\n", "broken JSON"),
    ],
)
def test_one_bad_row_is_named_and_keeps_the_file_out(tmp_path: Path, row: Any, words: str) -> None:
    with pytest.raises(InputError, match=f"1 of 2 rows(?s:.*)line 2: .*{words}"):
        read_decisions(file(tmp_path, ROW, row), find_text)


def test_many_bad_rows_are_counted(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="and 15 more"):
        read_decisions(file(tmp_path, *[{}] * 25), find_text)


def test_an_empty_file_is_no_file_of_decisions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no"):
        read_decisions(file(tmp_path, "\n"), find_text)
