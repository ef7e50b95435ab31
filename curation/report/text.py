"""Hostile text made readable: what is invisible or reorders the line becomes a label, what is long is cut.

Nothing here makes markup. The template prints the pieces, each of them escaped.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from curation.report.data import Turn

SAMPLE_CHARS = 4_000
"""Characters of one sample that the report shows; the rest is cut and counted."""

SAMPLE_TURNS = 40
"""Turns of one sample that are shown."""

# General categories whose characters have no glyph of their own: controls, formats (zero-width, bidi and tag
# characters), surrogates, private use, unassigned, line and paragraph separators.
_GLYPHLESS = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters and marks that are drawn as nothing all the same: grapheme joiner, Hangul fillers, Khmer inherent
# vowels, variation selectors (a known way to smuggle bytes).
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_SPACES = re.compile(r"[ \t\n]+")
_MAYBE = re.compile("[^\t\n\x20-\x7e\u00a1-\u00ac\u00ae-\u02ff]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text, or an invisible character with its `name`; `text` is then its label, like U+202E."""

    text: str
    name: str = ""


@dataclass(frozen=True, slots=True)
class CutTurn:
    """The shown start of a turn and how many characters of it are not shown."""

    role: str
    text: str
    trained: bool
    hidden: int


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is shown of a conversation; `skipped` turns are missing from its middle."""

    turns: Sequence[CutTurn]
    skipped: int


def pieces(text: str) -> Iterator[Piece]:
    """Split text into readable stretches and labelled invisible characters, in order and without loss.

    Tab and newline count as readable; a carriage return does not, since browsers turn it into a newline.
    """
    start = 0
    for match in _MAYBE.finditer(text):
        char = match.group()
        if not is_invisible(char):
            continue
        if start < match.start():
            yield Piece(text[start : match.start()])
        yield Piece(f"U+{ord(char):04X}", unicodedata.name(char, "no name").lower())
        start = match.end()
    if start < len(text):
        yield Piece(text[start:])


def is_invisible(char: str) -> bool:
    """True if a reader would not see this character, or would see the text around it in another order."""
    if char in "\t\n":
        return False
    return unicodedata.category(char) in _GLYPHLESS or _BLANK.match(char) is not None


def is_break(text: str) -> bool:
    """True if the text is only a line break and perhaps spaces: colour alone would not show it."""
    return text.isspace() and "\n" in text


def excerpt(text: str, chars: int = 140) -> str:
    """The start of a text on one line, for headings and tables."""
    line = _SPACES.sub(" ", text[: 4 * chars]).strip()
    return line if len(line) <= chars and len(text) <= 4 * chars else line[: chars - 1].rstrip() + "…"


def prompt(turns: Sequence[Turn]) -> str:
    """The last user message before the last trained turn: what people recognise a sample by."""
    last = max((i for i, turn in enumerate(turns) if turn.trained), default=len(turns))
    return next((turn.text for turn in reversed(turns[:last]) if turn.role == "user"), "")


def shorten(turns: Sequence[Turn], chars: int = SAMPLE_CHARS) -> Conversation:
    """The part of a conversation that is shown: at most SAMPLE_TURNS turns and so many characters.

    Turns are left out from the middle. Short turns stay whole, long ones share the characters that are left.
    """
    half = SAMPLE_TURNS // 2
    kept = turns if len(turns) <= SAMPLE_TURNS else [*turns[:half], *turns[-half:]]
    shown = [0] * len(kept)
    left = chars
    for done, i in enumerate(sorted(range(len(kept)), key=lambda i: len(kept[i].text))):
        shown[i] = min(len(kept[i].text), left // (len(kept) - done))
        left -= shown[i]
    cut = [CutTurn(t.role, t.text[:n], t.trained, len(t.text) - n) for t, n in zip(kept, shown, strict=True)]
    return Conversation(cut, len(turns) - len(kept))
