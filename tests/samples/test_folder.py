"""What is read of a folder, and when a file counts as written to its end."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pytest

from curation.samples.folder import Watched, name_of, sources_in, state_of

ROW = '{"prompt": "a", "response": "b"}\n'


def test_only_what_can_be_read_is_a_source(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.CSV", "c.jsonl.zst", "d.parquet", ".hidden.jsonl", "e.txt", "f.parquet.gz"):
        (tmp_path / name).write_text(ROW)
    (tmp_path / "begun.jsonl").touch()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "g.jsonl").write_text(ROW)
    datasets.Dataset.from_list([{"prompt": "a", "response": "b"}]).save_to_disk(tmp_path / "saved")
    found = [Path(path).name for path in sources_in(tmp_path)]
    assert found == ["a.jsonl", "b.CSV", "c.jsonl.zst", "d.parquet", "saved"]


def test_a_source_is_at_rest_once_two_looks_find_it_alike(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(ROW)
    folder = Watched(tmp_path)
    assert folder.look({}) == ({}, 1)
    file.write_text(ROW * 2)
    assert folder.look({}) == ({}, 1)
    resting, growing = folder.look({})
    assert (list(resting), growing) == ([str(file)], 0)
    assert folder.look(resting) == ({}, 0)


def test_the_same_size_at_another_time_is_another_state(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(ROW)
    before = state_of(file)
    os.utime(file, ns=(0, 0))
    assert state_of(file) not in (before, None)


def test_what_goes_away_between_two_looks_is_forgotten(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(ROW)
    folder = Watched(tmp_path)
    folder.look({})
    file.unlink()
    assert folder.look({}) == ({}, 0)
    assert state_of(file) is None


def test_a_name_that_is_no_unicode_has_one_that_is(tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/\xff.jsonl"
    with open(file, "w") as opened:  # noqa: PTH123 - a path of bytes
        opened.write(ROW)
    folder = Watched(tmp_path)
    folder.look({})
    ((path, state),) = folder.look({})[0].items()
    assert name_of(path).endswith(r"\udcff.jsonl")
    assert folder.look({name_of(path): state}) == ({}, 0)


def test_a_folder_that_is_away_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="away"):
        Watched(tmp_path / "away").look({})
