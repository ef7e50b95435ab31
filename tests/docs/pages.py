"""What the documentation holds: pages, fenced blocks of commands, links and headings."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(
    r"^(?P<marks>(?:<!-- [^\n]* -->\n)*)```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_MARK = re.compile(r"<!-- (not run|needs|exit):? (.*) -->")
_CODE_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block of shell commands. Comments of HTML above it say what stands in its way:

    `<!-- not run: why -->`, `<!-- needs label-studio -->`, `<!-- exit 3 -->` for what its last command ends in.
    """

    page: str
    line: int
    text: str
    not_run: str
    needs: tuple[str, ...]
    exit: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: Path) -> list[Block]:
    text = page.read_text(encoding="utf-8")
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        if match["language"] != "bash":
            continue
        marks = _MARK.findall(match["marks"])
        assert len(marks) == match["marks"].count("\n"), (
            f"a mark above {page.name} that means nothing: {match['marks']}"
        )
        found.append(Block(
            page=str(page.relative_to(ROOT)),
            line=text.count("\n", 0, match.start("text")),
            text=match["text"],
            not_run=next((value for name, value in marks if name == "not run"), ""),
            needs=tuple(value for name, value in marks if name == "needs"),
            exit=next((int(value) for name, value in marks if name == "exit"), 0),
        ))  # fmt: skip
    return found


def fenced(page: Path, language: str) -> list[str]:
    """Texts of the fenced blocks in a language."""
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [match["text"] for match in found if match["language"] == language]


def commands(block: Block) -> Iterator[list[str]]:
    """The words of every `curation ...` in a block, redirections and the like left out."""
    for line in block.text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                if words and words[0].rpartition("/")[2] == "curation":
                    yield words[1:]
                words = []
            else:
                words.append(word)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def code_spans(page: Path) -> list[str]:
    return _CODE_SPAN.findall(prose(page))


def links(page: Path) -> list[str]:
    """Targets of links and pictures."""
    return _LINK.findall(_CODE_SPAN.sub("", prose(page)))


def anchors(page: Path) -> set[str]:
    """What the headings of a page are called in addresses, as GitHub makes them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", plain.lower()).strip().replace(" ", "-")
        found.add(slug)
    return found
