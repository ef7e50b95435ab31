"""Whatever is changed, added or taken away after sealing is found, and the loader refuses it."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import curation
from curation.errors import GateError, InputError
from curation.gate import keys
from curation.gate.export import Exported
from curation.gate.formats import Format
from curation.gate.load import load_export
from curation.gate.verify import _align, verify  # pyright: ignore[reportPrivateUsage]
from curation.ledger import open_ledger
from tests.gate.builders import House, reviewed


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return reviewed(open_ledger(home=tmp_path_factory.mktemp("home")), 6)


@pytest.fixture
def out(house: House, tmp_path: Path) -> Path:
    house.export(tmp_path / "out")
    return tmp_path / "out"


def rows(out: Path) -> list[str]:
    return (out / "data-00000.jsonl").read_text().splitlines(keepends=True)


def write(out: Path, lines: list[str]) -> None:
    (out / "data-00000.jsonl").write_text("".join(lines))


def found(out: Path) -> list[tuple[str, str, str]]:
    return [(one.kind, one.of, one.what) for one in verify(out).findings]


DATA = ("changed", "file", "data-00000.jsonl")


@pytest.mark.parametrize(
    ("change", "rows_found"),
    [
        (lambda r: [*r[:2], r[2].replace("answer t2", "answer evil"), *r[3:]], [("changed", "row", "3")]),
        (lambda r: r[:2] + r[3:], [("missing", "row", "3")]),
        (lambda r: r[1:], [("missing", "row", "1")]),
        (lambda r: r[:-1], [("missing", "row", "6")]),
        (lambda r: [r[0], r[0].replace("t0", "t9"), *r[1:]], [("added", "row", "2 of the data now")]),
        (lambda r: [*r, r[0]], [("added", "row", "7 of the data now")]),
        (lambda r: [r[1], r[0], *r[2:]], [("moved", "row", "1"), ("moved", "row", "2")]),
        (lambda r: [*r[:3], "\n", *r[3:]], []),
        (lambda r: [], [("missing", "row", str(n)) for n in range(1, 7)]),
    ],
)
def test_every_row_that_differs_is_named(
    out: Path, change: Callable[[list[str]], list[str]], rows_found: list[tuple[str, str, str]]
) -> None:
    assert found(out) == []
    write(out, change(rows(out)))
    assert found(out) == [DATA, *rows_found]
    with pytest.raises(GateError, match="not what was sealed"):
        load_export(out)


def test_a_row_that_two_parsers_read_differently_is_a_changed_file(out: Path) -> None:
    write(out, [line.replace('{"messages"', '{"messages":[],"messages"') for line in rows(out)])
    assert found(out) == [DATA]


def test_files_that_come_and_go_are_named(out: Path, tmp_path: Path) -> None:
    shutil.copy(out / "data-00000.jsonl", out / "data-00001.jsonl")
    assert found(out)[0] == ("added", "file", "data-00001.jsonl")
    assert Counter(kind for kind, of, _ in found(out) if of == "row") == {"added": 6}
    (out / "data-00001.jsonl").unlink()
    (out / "data-00000.jsonl").rename(tmp_path / "elsewhere.jsonl")
    assert ("missing", "file", "data-00000.jsonl") in found(out)
    (out / "data-00000.jsonl").symlink_to(tmp_path / "elsewhere.jsonl")
    assert DATA in found(out)
    (out / "more").symlink_to(tmp_path)
    assert ("added", "file", "more") in found(out)


def test_an_edited_seal_is_found(out: Path) -> None:
    sealed = (out / "rows.jsonl").read_text()
    (out / "rows.jsonl").write_text(sealed.replace("approved", "passed", 1))
    assert found(out) == [("changed", "file", "rows.jsonl")]
    (out / "rows.jsonl").write_text(sealed)
    manifest = (out / "manifest.json").read_text()
    for edited in (
        manifest.replace('"tester"', '"me"').replace("  ", ""),
        manifest.replace("{", '{"x": 1,', 1),
        manifest[:-9],
        "",
    ):
        (out / "manifest.json").write_text(edited)
        with pytest.raises(GateError, match=r"manifest.json (was changed|is not a manifest)"):
            verify(out)
    (out / "manifest.json").unlink()
    with pytest.raises(GateError, match="cannot be read"):
        load_export(out)


def test_a_signature_shows_who_sealed(house: House, tmp_path: Path) -> None:
    out, other = tmp_path / "out", tmp_path / "other"
    public = keys.new_pair(tmp_path / "key")
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    signed: Exported = house.export(out, key=keys.load_private(tmp_path / "key"))
    assert signed.manifest.signed_with == keys.fingerprint(keys.load_public(public))
    assert len(load_export(out, public)) == 6
    assert verify(out).findings == []
    stranger = keys.new_pair(tmp_path / "stranger")
    with pytest.raises(GateError, match="not this key's"):
        load_export(out, stranger)
    # a whole export made by someone else, with a seal that fits
    house.export(other)
    with pytest.raises(GateError, match="not signed"):
        load_export(other, public)
    shutil.copy(out / "manifest.json.sig", other / "manifest.json.sig")
    with pytest.raises(GateError, match="not this key's"):
        load_export(other, public)
    (out / "manifest.json.sig").unlink()
    assert found(out) == [("missing", "file", "manifest.json.sig")]


def test_keys_are_never_written_over_and_must_be_keys(tmp_path: Path) -> None:
    keys.new_pair(tmp_path / "key")
    with pytest.raises(InputError, match="exists"):
        keys.new_pair(tmp_path / "key")
    (tmp_path / "key").unlink()
    with pytest.raises(InputError, match="exists"):
        keys.new_pair(tmp_path / "key")
    with pytest.raises(InputError, match="not an Ed25519 private key"):
        keys.load_private(tmp_path / "key.pub")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="not an Ed25519 public key"):
        keys.load_public(tmp_path / "text")
    with pytest.raises(InputError, match="cannot be read"):
        keys.load_public(tmp_path / "none")


@pytest.mark.parametrize("form", ["parquet", "hf"])
def test_tables_are_verified_too(house: House, tmp_path: Path, form: Format) -> None:
    out = tmp_path / "out"
    house.export(out, form)
    assert found(out) == []
    if form == "parquet":
        table = pq.read_table(out / "data-00000.parquet")
        pq.write_table(table.slice(1), out / "data-00000.parquet")
        assert found(out)[1:] == [("missing", "row", "1")]
    (path,) = out.rglob("data-00000*")
    path.write_bytes(path.read_bytes()[:200])
    assert "unreadable" in {kind for kind, _, _ in found(out)}
    with pytest.raises(GateError):
        load_export(out)


def test_the_loader_is_what_a_training_script_calls(out: Path) -> None:
    export = curation.load_export(out)
    assert len(export) == 6
    assert [row["messages"][1]["content"] for row in export] == [f"answer t{i}" for i in range(6)]
    assert export.dataset().column_names == ["messages", "n"]
    write(out, [*rows(out)[:3], *[json.dumps({"messages": []}) + "\n"] * 3])
    with pytest.raises(GateError, match=r"row 4 .* was changed while"):
        list(export)


digests = st.lists(st.sampled_from([b"a", b"b", b"c", b"d", b"e"]), max_size=8)


@given(digests, digests)
def test_differences_add_up(sealed: list[bytes], now: list[bytes]) -> None:
    kinds = Counter(one.kind for one in _align(sealed, now))
    gone = sum((Counter(sealed) - Counter(now)).values())
    new = sum((Counter(now) - Counter(sealed)).values())
    assert (kinds["missing"] + kinds["changed"], kinds["added"] + kinds["changed"]) == (gone, new)
    assert bool(kinds) == (sealed != now)
