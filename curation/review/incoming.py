"""Decisions from a file: CSV, JSONL or any other format that samples are read from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from curation.errors import CurationError, InputError
from curation.ledger.decisions import NewDecision, Verdict
from curation.samples.inputs import format_of, open_rows
from curation.samples.rows import BadRow, Row

SOURCE = "file"

_SHOWN = 10


class _Row(BaseModel):
    """A row of such a file; other columns are of no concern."""

    model_config = ConfigDict(str_strip_whitespace=True)

    id: str
    verdict: Verdict
    reviewer: str = Field(min_length=1)
    decided_at: AwareDatetime
    reason: str | None = None
    note: str | None = None
    remote_id: str = ""


def read_decisions(source: str, find_text: Callable[[str], str]) -> list[NewDecision]:
    """All decisions of a file with the columns id, verdict, reviewer and decided_at, and perhaps reason, note and
    remote_id.

    `find_text` gives the content hash that an id begins. A time is asked for because the later of two decisions
    counts: without it, reading an old file again would bring old decisions back. Raises InputError, naming the first
    bad rows, if any row cannot be used.
    """
    made: list[NewDecision] = []
    problems: list[str] = []
    with open_rows(source, format_of(source), "train") as opened:
        for row in opened.rows:
            try:
                made.append(_decision(row, find_text))
            except CurationError as error:
                problems.append(f"line {row.line}: {error.message}")
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:_SHOWN])
        more = f"\n  and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise InputError(
            f"{len(problems):,} of {len(problems) + len(made):,} rows of {source} are no decisions:{shown}{more}",
            "Nothing was recorded. A row needs id, verdict (approve, reject or withdraw), reviewer, and decided_at "
            "with a time zone, such as 2026-03-14T09:26:00Z.",
        )
    if not made:
        raise InputError(f"{source} holds no decisions", "Name a file with at least one row.")
    return made


def _decision(row: Row | BadRow, find_text: Callable[[str], str]) -> NewDecision:
    if isinstance(row, BadRow):
        raise InputError(row.reason)
    try:
        read = _Row.model_validate(_filled(row.fields))
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    return NewDecision(
        find_text(read.id),
        read.verdict,
        read.reviewer,
        SOURCE,
        read.reason,
        read.note,
        read.remote_id,
        _plain_time(read.decided_at),
    )


def _filled(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that hold something: an empty cell of a CSV is no value."""
    return {name: value for name, value in fields.items() if value is not None and value != ""}


def _plain_time(moment: datetime) -> datetime:
    if not 1970 <= moment.year < 9999:
        raise InputError(f"decided_at: {moment.isoformat()} is no time a decision was made")
    return moment
