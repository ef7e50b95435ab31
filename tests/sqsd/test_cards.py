"""Adapters that can be named are found with their cards, whatever else lies in the folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from curation.sqsd.cards import (
    CARD_FILE,
    CONFIG_FILE,
    SHIPPED,
    keep_validation,
    known_adapters,
    read_card,
    write_card,
)


def test_adapters_of_the_home_come_first_then_those_shipped(tmp_path: Path) -> None:
    home = tmp_path / "directions"
    for name in ("mine", "bare", "broken", ".curation-half", "notes"):
        (home / name).mkdir(parents=True)
        if name != "notes":
            (home / name / CONFIG_FILE).write_text("{}")
    (home / "stray.txt").write_text("")
    write_card(home / "mine", {"kind": "danger"})
    (home / "broken" / CARD_FILE).write_text("[]")
    found = known_adapters(tmp_path)
    assert [(a.name, a.shipped) for a in found] == [
        ("bare", False), ("broken", False), ("mine", False),
        ("aligned", True), ("benign-state", True), ("danger", True), ("safety", True),
    ]  # fmt: skip
    assert [a.card for a in found[:3]] == [None, None, {"kind": "danger"}]
    assert "not a JSON object" in (found[1].trouble or "")
    assert [a.card["kind"] for a in found[3:] if a.card] == ["state", "state", "danger", "safety"]


def test_a_home_without_directions_has_none_of_its_own(tmp_path: Path) -> None:
    assert all(adapter.shipped for adapter in known_adapters(tmp_path))


def test_a_validation_is_kept_in_a_card_of_ones_own_and_nowhere_else(tmp_path: Path) -> None:
    bare, mine = tmp_path / "bare", tmp_path / "mine"
    for folder in (bare, mine):
        folder.mkdir()
    write_card(mine, {"kind": "danger", "validation": {"confirmed": False}})
    assert keep_validation(mine, {"confirmed": True})
    card = read_card(mine)
    assert card
    assert (card["kind"], card["validation"]["confirmed"]) == ("danger", True)
    assert not keep_validation(bare, {"confirmed": True})
    assert list(bare.iterdir()) == []
    before = (SHIPPED / "danger" / CARD_FILE).read_bytes()
    assert not keep_validation(SHIPPED / "danger", {"confirmed": True})
    assert (SHIPPED / "danger" / CARD_FILE).read_bytes() == before


def test_reading_cards_needs_no_torch() -> None:
    code = "import sys, curation.sqsd.cards; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
