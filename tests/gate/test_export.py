"""An export is whole, in order, readable as what it was made of, and recorded; otherwise it is not there."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from curation.errors import CurationError, GateError
from curation.gate import shards
from curation.gate.formats import FORMATS, Format, layout_of
from curation.gate.load import load_export
from curation.gate.manifest import RowEntry
from curation.ledger import open_ledger, reading
from curation.ledger.exports import exports_of, list_policies
from curation.samples import Sample, read_samples
from curation.samples.sample import Message, Source
from tests.gate.builders import SCORER, House, policy_of, reviewed
from tests.ledger.builders import sample


def chat(*turns: tuple[str, str], line: int = 1, train: Any = "last", **metadata: Any) -> Sample:
    messages = tuple(Message(role, text) for role, text in turns)  # type: ignore[arg-type]
    return Sample(messages, train, metadata, Source("chats.jsonl", line))


CHATS = [
    chat(("user", "a"), ("assistant", "b"), line=1, id=7, tags=["x", None], nested={"k": 1.5}),
    chat(("system", "s"), ("user", "a\nb"), ("assistant", " c "), line=2, id=8, other="ü\u202e"),
    chat(("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"), line=3),
    chat(
        ("system", "s"), ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4"), line=4, id=None
    ),
]
HARD = [
    chat(("user", "a"), ("assistant", "call"), ("tool", "result"), ("assistant", "done"), line=5),
    chat(("assistant", "no question"), line=6),
    chat(("user", "a"), ("user", "b"), ("assistant", "c"), ("user", "after"), line=7),
    chat(("user", " "), ("assistant", "c"), line=8),
]


def house_of(engine: Engine, samples: list[Sample]) -> House:
    """Everything scored and approved."""
    house = House(engine)
    house.ingest(*samples)
    house.approve_all()
    return house


def ids_in(folder: Path, form: Format, train: Any = "last") -> list[str]:
    """What ingesting the files of an export would read."""
    sources = [folder / "data"] if form == "hf" else sorted(folder.glob("data-*"))
    return [read.id for source in sources for read in read_samples(source, train=train)]


@pytest.mark.parametrize("form", FORMATS)
def test_an_export_is_read_back_as_the_same_samples(ledger: Engine, tmp_path: Path, form: Format) -> None:
    samples = CHATS if layout_of(form) == "alpaca" else CHATS + HARD
    house = house_of(ledger, samples)
    made = house.export(tmp_path / "out", form)
    assert ids_in(tmp_path / "out", form) == [one.id for one in samples]
    rows = list(load_export(tmp_path / "out"))
    assert len(rows) == made.manifest.counts.rows == len(samples)
    if form in ("jsonl", "parquet", "hf"):
        assert rows[0]["id"] == 7
        assert rows[0]["tags"] == ["x", None]
        assert rows[0]["nested"]["k"] == 1.5
        assert rows[1]["other"] == "ü\u202e"
    else:
        assert not any("id" in row for row in rows)


def test_samples_trained_on_every_turn_stay_so(ledger: Engine, tmp_path: Path) -> None:
    turns = ("user", "1"), ("assistant", "2"), ("user", "3"), ("assistant", "4")
    house = house_of(ledger, [chat(*turns, train="all"), chat(*turns, line=2)])
    made = house.export(tmp_path / "out")
    assert made.manifest.trained == {"all": 1, "last": 1}
    entries = [RowEntry.model_validate_json(line) for line in (tmp_path / "out/rows.jsonl").open()]
    assert [entry.train for entry in entries] == ["all", "last"]
    assert ids_in(tmp_path / "out", "jsonl", "all")[0] == entries[0].sample


@pytest.mark.parametrize("form", FORMATS)
def test_rows_that_a_format_cannot_express_are_listed_and_nothing_is_written(
    ledger: Engine, tmp_path: Path, form: Format
) -> None:
    clash = chat(("user", "x"), ("assistant", "y"), line=9, messages=[{"role": "user", "content": "evil"}])
    house = house_of(ledger, [*CHATS, *HARD, clash])
    bad = {"alpaca": 4, "sharegpt": 0, "messages": 0}.get(form, 1)
    if not bad:
        house.export(tmp_path / "out", form)
        return
    with pytest.raises(GateError, match=f"(?s){bad} cannot.*chats.jsonl:{5 if bad == 4 else 9}") as raised:
        house.export(tmp_path / "out", form)
    assert len(raised.value.message.splitlines()) == 1 + bad
    assert list(tmp_path.glob("*out*")) == []


def test_rows_leave_as_often_as_their_lines_in_the_order_of_the_files(ledger: Engine, tmp_path: Path) -> None:
    house = House(ledger)
    house.write({10: "a", 9: "b", 2: "a"}, "b.jsonl")
    house.write({1: "c", 3: "rejected"}, "a.jsonl")
    house.approve_all()
    house.decide("reject", "rejected", minute=1)
    made = house.export(tmp_path / "out")
    assert [row["n"] for row in load_export(tmp_path / "out")] == [1, 2, 9, 10]
    assert (made.manifest.counts.rows, made.manifest.counts.samples) == (4, 3)


def test_the_seal_says_who_let_what_out_and_why(ledger: Engine, tmp_path: Path) -> None:
    house = reviewed(ledger, 4)
    house.decide("withdraw", "t3", minute=1)
    house.decide("approve", "t0", by="bob", minute=2)
    made = house.export(tmp_path / "out", policy=policy_of(rules={"low": "pass"}))
    manifest = json.loads((tmp_path / "out/manifest.json").read_text())
    assert manifest["counts"] == {"lines": 4, "out": {"approved": 3, "passed": 1}, "samples": 4, "held": {}}
    assert manifest["scorer"] == SCORER
    assert manifest["policy"]["body"]["rules"]["low"] == "pass"
    first, *_, last = [json.loads(line) for line in (tmp_path / "out/rows.jsonl").open()]
    assert (first["sample"], first["file"], first["line"]) == (sample("t0").id, "train.jsonl", 1)
    assert (first["because"], first["risk"], first["percentile"], first["tier"]) == (
        "approved",
        4.0,
        100.0,
        "critical",
    )
    assert [word["reviewer"] for word in first["words"]] == ["ada", "bob"]
    assert (last["because"], last["words"]) == ("passed", [])
    with reading(ledger) as conn:
        (recorded,) = exports_of(conn, house.dataset.id, house.pk("t3"))
        assert recorded.manifest_sha256 == made.manifest_sha256
        assert (recorded.scorer, recorded.exported_by, recorded.format) == (SCORER, "tester", "jsonl")
        assert recorded.snapshot_at == made.manifest.snapshot_at
        (policy,) = list_policies(conn)
        assert policy.sha256 == made.manifest.policy.sha256 == recorded.policy_sha256


def test_an_export_is_of_one_moment(ledger: Engine, tmp_path: Path) -> None:
    """What is decided, edited and scored while it runs is in the next one."""
    house = reviewed(ledger, 1200)
    meanwhile = iter(
        [lambda: house.decide("reject", "t1", "t1100", minute=1), lambda: house.write({1150: "new"})]
    )

    def disturb(_done: int, _total: int) -> None:
        next(meanwhile, lambda: None)()

    made = house.export(tmp_path / "one", on_progress=disturb)
    assert (made.manifest.counts.rows, made.manifest.counts.held) == (1200, {})
    after = house.export(tmp_path / "two")
    assert after.manifest.counts.held == {"rejected": 2, "unscored": 1, "edited": 1}
    assert after.manifest.snapshot_at - made.manifest.snapshot_at > timedelta(0)


def test_an_empty_export_is_refused_with_the_reasons(ledger: Engine, tmp_path: Path) -> None:
    house = House(ledger)
    house.write({1: "a", 2: "b"})
    house.score({"a": 1.0})
    with pytest.raises(GateError, match="not scored yet: 1; no approval that stands: 1"):
        house.export(tmp_path / "out")
    assert list(tmp_path.glob("*out*")) == []


@pytest.mark.parametrize("form", ["jsonl", "parquet", "hf"])
def test_large_exports_are_split_and_keep_their_order(
    ledger: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: Format
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 2000)
    house = reviewed(ledger, 60)
    house.export(tmp_path / "out", form)
    rows = list(load_export(tmp_path / "out"))
    assert [row["n"] for row in rows] == list(range(1, 61))
    assert form == "hf" or len(list((tmp_path / "out").glob("data-*"))) > 2
    assert len(ids_in(tmp_path / "out", form)) == 60


@pytest.mark.parametrize("form", ["parquet", "hf"])
def test_a_field_that_no_column_can_hold_is_named(tmp_path: Path, form: Format) -> None:
    house = house_of(
        open_ledger(home=tmp_path),
        [
            chat(("user", f"{i}"), ("assistant", "y"), line=i, mixed=kind)
            for i, kind in enumerate((1, "one"), 1)
        ],
    )
    with pytest.raises(GateError, match="'mixed'"):
        house.export(tmp_path / "out", form)
    assert list(tmp_path.glob("*out*")) == []


def test_fields_that_appear_late_and_numbers_that_widen_fit_a_table(tmp_path: Path) -> None:
    kinds: list[dict[str, Any]] = [{"a": 1}, {"a": None, "b": {"x": 1}}, {"a": 2.5, "b": {"y": ["z"]}}, {}]
    samples = [chat(("user", f"{i}"), ("assistant", "y"), line=i, **kind) for i, kind in enumerate(kinds, 1)]
    house = house_of(open_ledger(home=tmp_path), samples)
    house.export(tmp_path / "out", "parquet")
    rows = list(load_export(tmp_path / "out"))
    assert [row["a"] for row in rows] == [1.0, None, 2.5, None]
    assert rows[2]["b"] == {"x": None, "y": ["z"]}


def test_metadata_without_a_json_form_is_named(tmp_path: Path) -> None:
    house = house_of(open_ledger(home=tmp_path), [chat(("user", "a"), ("assistant", "b"), huge=2**70)])
    with pytest.raises(CurationError, match=r"chats.jsonl:1 .*no JSON form"):
        house.export(tmp_path / "out")
