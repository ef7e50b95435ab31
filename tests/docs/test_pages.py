"""The documentation agrees with what there is: commands, links, tests it names, and the reference with the code."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from curation.cli.commands import COMMANDS, load
from docs.write_reference import pages as reference
from tests.docs.pages import PAGES, ROOT, Block, anchors, blocks, code_spans, commands, fenced, links

WRITTEN = [page for page in PAGES if page.parent.name != "reference"]
NAMES = {entry.name for entries in COMMANDS.values() for entry in entries}
ALL = [block for page in WRITTEN for block in blocks(page)]


def command_of(words: list[str]) -> tuple[Any, list[str]]:
    """The command these words name, and the words that are left."""
    assert words[0] in NAMES, f"there is no command {words[0]}"
    command, rest = load(words[0]), words[1:]
    while getattr(command, "commands", None) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"there is no command {' '.join(words)}"
        command, rest = command.commands[rest[0]], rest[1:]
    return command, rest


@pytest.mark.parametrize("block", ALL, ids=str)
def test_every_command_of_a_block_can_be_parsed(block: Block) -> None:
    for words in commands(block):
        if words[0].startswith("--"):
            continue
        command, rest = command_of(words)
        command.make_context("curation", list(rest))  # raises for what there is not


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_every_command_that_prose_names_exists(page: Path) -> None:
    for span in code_spans(page):
        words = span.split()
        if words[0] != "curation" or len(words) == 1 or not re.fullmatch(r"[a-z-]+", words[1]):
            continue
        command, rest = command_of([word.rstrip(",.") for word in words[1:]])
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert {word for word in rest if word.startswith("--")} <= known, span


@pytest.mark.parametrize("page", WRITTEN, ids=lambda page: page.name)
def test_code_and_settings_are_well_formed(page: Path) -> None:
    for text in fenced(page, "python"):
        compile(text, str(page), "exec")
    for text in fenced(page, "toml"):
        tomllib.loads(text)
    for text in fenced(page, "json"):
        json.loads(text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_tests_that_a_page_names_exist() -> None:
    named = [
        span
        for page in WRITTEN
        for span in code_spans(page)
        if re.match(r"[\w/]+\.py(::|$)", span) and "test_" in span
    ]
    assert named
    for span in named:
        file, _, test = span.partition("::")
        place = ROOT / file if file.startswith("tests/") else ROOT / "tests" / file
        assert place.exists(), span
        assert not test or f"def {test}(" in place.read_text(encoding="utf-8"), span


def test_pictures_are_small_and_shown_somewhere() -> None:
    shown = {(page.parent / link).resolve() for page in PAGES for link in links(page)}
    pictures = sorted((ROOT / "docs" / "images").iterdir())
    assert [picture.name for picture in pictures if picture.resolve() not in shown] == []
    assert [picture.name for picture in pictures if picture.stat().st_size > 200_000] == []


def test_the_reference_says_what_the_code_says() -> None:
    made = reference()
    assert set(made) == set((ROOT / "docs" / "reference").iterdir())
    for path, text in made.items():
        assert path.read_text(encoding="utf-8") == text, f"run `make docs-reference` for {path.name}"


def test_every_page_is_on_the_map() -> None:
    on_it = {(ROOT / "docs" / link.partition("#")[0]).resolve() for link in links(ROOT / "docs" / "index.md")}
    missing = [page.name for page in (ROOT / "docs").glob("*.md") if page.resolve() not in on_it]
    assert missing == ["index.md"]
