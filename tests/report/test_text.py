"""Text is shown without loss, without invisible characters, and never at full length."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.report.data import Turn
from curation.report.text import (
    SAMPLE_CHARS,
    SAMPLE_TURNS,
    excerpt,
    is_break,
    is_invisible,
    pieces,
    prompt,
    shorten,
)
from tests.report.hostile import PAYLOADS

BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad\u034f\u180e\u3164\ufe0f\U000e0100\U000e0041"


@given(st.text() | st.sampled_from(PAYLOADS))
def test_pieces_lose_nothing(text: str) -> None:
    back = "".join(chr(int(p.text[2:], 16)) if p.name else p.text for p in pieces(text))
    assert back == text


@given(st.text() | st.sampled_from(PAYLOADS))
def test_no_piece_holds_a_character_without_a_glyph(text: str) -> None:
    shown = "".join(piece.text for piece in pieces(text))
    assert {unicodedata.category(c) for c in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"} <= {"Cc"}
    assert not set(shown) & (set(map(chr, [*range(32), *range(127, 160)])) - {"\t", "\n"})


@pytest.mark.parametrize(
    "char", [*BIDI, *ZERO_WIDTH, "\r", "\x1b", "\x85", "\u2028", "\ud800", "\ue000", "\uffff"]
)
def test_characters_that_hide_or_reorder_become_labels(char: str) -> None:
    assert is_invisible(char)
    (piece,) = pieces(char)
    assert piece.text == f"U+{ord(char):04X}"
    assert piece.name


@pytest.mark.parametrize("char", [*"aß\t\n ", "\u00a0", "م", "ש", "語", "🙂", "e\u0301"[1]])
def test_readable_characters_stay(char: str) -> None:
    (piece,) = pieces(char)
    assert (piece.text, piece.name) == (char, "")


@given(
    st.lists(st.builds(Turn, st.just("user"), st.integers(0, 3 * SAMPLE_CHARS).map("x".__mul__)), max_size=8)
)
def test_shown_and_hidden_characters_add_up_and_stay_in_the_budget(turns: list[Turn]) -> None:
    shown = shorten(turns)
    assert [len(cut.text) + cut.hidden for cut in shown.turns] == [len(turn.text) for turn in turns]
    assert sum(len(cut.text) for cut in shown.turns) <= SAMPLE_CHARS
    if sum(len(turn.text) for turn in turns) <= SAMPLE_CHARS:
        assert not any(cut.hidden for cut in shown.turns)


def test_a_long_prompt_does_not_push_out_a_short_answer() -> None:
    long, short = shorten([Turn("user", "x" * 10**6), Turn("assistant", "the answer", trained=True)]).turns
    assert (short.text, short.hidden) == ("the answer", 0)
    assert len(long.text) == SAMPLE_CHARS - len("the answer")


def test_turns_are_left_out_from_the_middle() -> None:
    turns = [Turn("user", str(i)) for i in range(1_000)]
    shown = shorten(turns)
    assert len(shown.turns) == SAMPLE_TURNS
    assert shown.skipped == 1_000 - SAMPLE_TURNS
    assert (shown.turns[0].text, shown.turns[-1].text) == ("0", "999")


def test_prompt_is_the_user_turn_before_the_last_trained_turn() -> None:
    turns = [
        Turn("system", "s"),
        Turn("user", "first"),
        Turn("assistant", "a", trained=True),
        Turn("user", "second"),
        Turn("assistant", "b", trained=True),
        Turn("user", "unanswered"),
    ]
    assert prompt(turns) == "second"
    assert prompt([Turn("assistant", "b", trained=True)]) == ""
    assert prompt([]) == ""


@given(st.text(), st.integers(2, 200))
def test_excerpts_are_one_short_line(text: str, chars: int) -> None:
    line = excerpt(text, chars)
    assert len(line) <= chars
    assert not set(line) & {"\n", "\t"}
    assert line.endswith("…") or line == re.sub("[ \t\n]+", " ", text).strip()


def test_only_line_breaks_are_marked_as_such() -> None:
    assert [is_break(t) for t in ("\n", " \n\n", " ", "", ".\n")] == [True, True, False, False, False]
