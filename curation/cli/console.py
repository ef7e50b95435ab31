"""What every command prints through: one console, one progress bar, one JSON form, no control characters."""

from __future__ import annotations

import unicodedata
from typing import Any

import orjson
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

EXIT_INCOMPLETE = 3
"""Exit code of a command that did its work but had to leave some rows or samples aside."""

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def progress(quiet: bool = False) -> Progress:
    """A progress bar on standard error with rate and time left; tasks may set the field `rate` to a text."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[rate]}"),
        TimeRemainingColumn(),
        console=errors,
        disable=quiet,
        speed_estimate_period=300,  # a batch can take half a minute on a busy machine
    )


def print_json(value: Any) -> None:
    """One JSON document on standard output, for programs."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS, default=str).decode()
    console.print(text, markup=False, soft_wrap=True)


def plain(text: str, width: int | None = None) -> str:
    """Sample text made fit for a terminal: control and direction characters shown as U+XXXX, one line, cut."""
    shown = "".join(
        " " if c in "\n\t\r" else f"<U+{ord(c):04X}>" if unicodedata.category(c) in ("Cc", "Cf") else c
        for c in (text if width is None else text[: 4 * width])
    )
    line = " ".join(shown.split())
    return line if width is None or len(line) <= width else line[: width - 1] + "…"
