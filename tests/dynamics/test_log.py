"""The file: what is read back, what a resumed run finds, and what pictures come of it."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from curation.dynamics.log import LogWriter, read_log
from curation.errors import InputError
from curation.figures import draw_dynamics

HEADER = {"danger": {"fingerprint": "d"}, "safety": {"fingerprint": "s"}, "start": "0", "update": "lora"}


def record(step: int, value: float = 1.0) -> dict[str, Any]:
    along = {"cosine": value, "projection": 2 * value, "norm": 3.0}
    return {
        "step": step,
        "epoch": 0.5,
        "loss": None,
        "danger": along,
        "safety": along | {"projection": value},
    }


def written(path: Path, steps: range, header: dict[str, Any] = HEADER) -> LogWriter:
    log = LogWriter(path)
    log.begin(header, 0)
    for step in steps:
        log.append(record(step))
    return log


def steps(path: Path) -> list[int]:
    return [r["step"] for r in read_log(path).records]


def test_columns_hold_what_was_written_and_nan_for_the_rest(tmp_path: Path) -> None:
    log = written(tmp_path / "a.jsonl", range(1, 3))
    log.append(record(3, math.nan))
    found = read_log(tmp_path / "a.jsonl")
    assert found.column("danger", "projection").tolist()[:2] == [2, 2]
    assert found.net("projection").tolist()[:2] == [1, 1]
    assert all(math.isnan(v) for v in [found.column("danger", "cosine")[2], *found.column("loss")])
    assert all(math.isnan(v) for v in found.column("danger", "no", "such"))


@pytest.mark.parametrize("resumed_after", [0, 2, 3, 9])
def test_a_resumed_run_keeps_what_came_before_it_and_drops_the_rest(
    tmp_path: Path, resumed_after: int
) -> None:
    file = tmp_path / "a.jsonl"
    written(file, range(1, 6))
    log = LogWriter(file)
    log.begin(HEADER, resumed_after)
    log.append(record(resumed_after + 1))
    assert steps(file) == [s for s in range(1, 6) if s <= resumed_after] + [resumed_after + 1]


@pytest.mark.parametrize("key", ["danger", "safety", "start", "update"])
def test_a_run_with_another_start_or_direction_is_refused(tmp_path: Path, key: str) -> None:
    written(tmp_path / "a.jsonl", range(1, 6))
    before = (tmp_path / "a.jsonl").read_bytes()
    with pytest.raises(InputError, match=f"another {key}"):
        LogWriter(tmp_path / "a.jsonl").begin({**HEADER, key: "else"}, 3)
    assert (tmp_path / "a.jsonl").read_bytes() == before


def test_every_new_run_finds_a_free_name_for_the_earlier_log(tmp_path: Path) -> None:
    for last in (2, 3, 4):
        written(tmp_path / "a.jsonl", range(1, last))
    assert [steps(tmp_path / name) for name in ("a.jsonl.1", "a.jsonl.2", "a.jsonl")] == [
        [1],
        [1, 2],
        [1, 2, 3],
    ]


@pytest.mark.parametrize("left", [b"", b'{"curation_dyn', b'{"curation_dynamics":1,"danger":{"fing'])
def test_a_header_that_a_full_disk_cut_short_is_written_again(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "a.jsonl").write_bytes(left)
    written(tmp_path / "a.jsonl", range(1, 3))
    assert steps(tmp_path / "a.jsonl") == [1, 2]
    assert not (tmp_path / "a.jsonl.1").exists()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_warning_and_lines_come_when_there_is_room(tmp_path: Path) -> None:
    log = LogWriter(tmp_path / "a.jsonl")
    log.begin(HEADER, 0)
    log.append(record(1))
    (tmp_path / "a.jsonl").rename(tmp_path / "kept")
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        log.append(record(2))
        log.append(record(3))
    assert len(caught) == 1
    (tmp_path / "kept").replace(tmp_path / "a.jsonl")
    log.append(record(4))
    assert steps(tmp_path / "a.jsonl") == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "text", ["", "no json\n", '{"messages": []}\n', '{"curation_dynamics": 2}\n', "[1]\n"]
)
def test_what_is_no_log_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.jsonl").write_text(text)
    with pytest.raises(InputError):
        read_log(tmp_path / "a.jsonl")
    with pytest.raises(InputError, match="cannot be read"):
        read_log(tmp_path / "missing.jsonl")


@pytest.mark.parametrize("metric", ["projection", "cosine"])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_every_run_is_drawn_and_named_whatever_its_name(tmp_path: Path, n: int, metric: Any) -> None:
    written(tmp_path / "a.jsonl", range(1, 6))
    log = read_log(tmp_path / "a.jsonl")
    names = ["_run $x^2$ & <b>", *(f"run {i}" for i in range(1, n))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for out in (tmp_path / "a.svg", tmp_path / "a.png", tmp_path / "b.svg"):
            draw_dynamics(dict.fromkeys(names, log), out, metric)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    text = "".join(ET.parse(tmp_path / "a.svg").getroot().itertext())
    assert "higher = riskier" in text
    assert all((name in text) == (n > 1) for name in names)


def test_a_log_without_steps_or_with_gaps_is_drawn(tmp_path: Path) -> None:
    log = written(tmp_path / "a.jsonl", range(0))
    draw_dynamics({"empty": read_log(tmp_path / "a.jsonl")}, tmp_path / "a.png")
    log.append(record(1, math.nan))
    draw_dynamics({"nan": read_log(tmp_path / "a.jsonl")}, tmp_path / "a.png")
    with pytest.raises(InputError, match="neither"):
        draw_dynamics({"nan": read_log(tmp_path / "a.jsonl")}, tmp_path / "a.pdf")
    with pytest.raises(InputError, match="cannot be written"):
        draw_dynamics({"nan": read_log(tmp_path / "a.jsonl")}, tmp_path / "no" / "a.png")
