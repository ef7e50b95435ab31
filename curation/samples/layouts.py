"""Layouts: the ways datasets spell a conversation, and the messages each row stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import orjson

from curation.errors import InputError, SampleError

Fields = Mapping[str, Any]
Turn = Mapping[str, Any]

_SPEAKERS = {
    "human": "user",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "function_call": "assistant",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
}
"""ShareGPT speakers that are not roles already."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to lay out a conversation in the fields of a row; fields in neither tuple are metadata."""

    name: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    summary: str
    _turns: Callable[[Fields], list[Turn]]

    def fits(self, names: Collection[str]) -> bool:
        return all(name in names for name in self.required)

    def convert(self, row: Fields) -> list[Turn]:
        """Messages as `{"role": ..., "content": ...}`. Raises SampleError for a row that has none."""
        for name in self.required:
            if row.get(name) is None:
                raise SampleError(f"no {name!r} (layout {self.name})")
        return self._turns(row)

    def metadata(self, row: Fields) -> dict[str, Any]:
        """All fields that `convert` does not use, untouched."""
        return {name: value for name, value in row.items() if name not in self.required + self.optional}


def detect(rows: Iterable[Collection[str]]) -> Layout:
    """The layout most of these rows fit, given as rows or as the names of their fields.

    Where a row fits several, the first in `LAYOUTS` counts. Raises InputError if no row fits any.
    """
    votes: Counter[str] = Counter()
    found: dict[str, None] = {}
    for names in rows:
        found.update(dict.fromkeys(names))
        votes.update([layout.name for layout in LAYOUTS.values() if layout.fits(names)][:1])
    if votes:
        return LAYOUTS[votes.most_common(1)[0][0]]
    shown = ", ".join(f"{name!r:.40}" for name in list(found)[:20]) + (", ..." if len(found) > 20 else "")
    known = "; ".join(f"{layout.name} ({layout.summary})" for layout in LAYOUTS.values())
    raise InputError(
        f"no known layout: the first rows have the fields {shown or '(none)'}",
        f"Rename the fields to one of: {known}.",
    )


def layout_of(row: Fields, usual: Layout) -> Layout:
    """The layout of one row of a source whose rows usually have another: `usual`, unless only another one fits."""
    names = [name for name, value in row.items() if value is not None]
    if usual.fits(names):
        return usual
    return next((layout for layout in LAYOUTS.values() if layout.fits(names)), usual)


def _list(field: str, row: Fields) -> list[Any]:
    value = row[field]
    if isinstance(value, str):  # how a CSV cell carries a list
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, list):
        raise SampleError(f"{field!r} is not a list")
    return cast("list[Any]", value)


def _sharegpt(row: Fields) -> list[Turn]:
    return [*_system(row), *map(_sharegpt_turn, _list("conversations", row))]


def _sharegpt_turn(turn: Any) -> Turn:
    if not isinstance(turn, dict):
        return turn
    fields = cast("Fields", turn)
    speaker = fields.get("from", fields.get("role"))
    role = _SPEAKERS.get(speaker, speaker) if isinstance(speaker, str) else speaker
    return {"role": role, "content": fields.get("value", fields.get("content"))}


def _alpaca(row: Fields) -> list[Turn]:
    turns = _system(row)
    for pair in _list("history", row) if row.get("history") else ():
        if not isinstance(pair, list) or len(cast("list[Any]", pair)) != 2:
            raise SampleError("'history' is not a list of instruction and answer pairs")
        question, answer = cast("list[Any]", pair)
        turns += [_turn("user", question), _turn("assistant", answer)]
    return [*turns, _instruction(row, "input"), _turn("assistant", row["output"])]


def _dolly(row: Fields) -> list[Turn]:
    return [_instruction(row, "context"), _turn("assistant", row["response"])]


def _instruction(row: Fields, context: str) -> Turn:
    parts = [row["instruction"], row.get(context) or ""]
    if not all(isinstance(part, str) for part in parts):
        raise SampleError(f"'instruction' or {context!r} is not text")
    return _turn("user", "\n".join(part for part in parts if part.strip()))


def _completion(row: Fields) -> list[Turn]:
    """Strings, or TRL's conversational form: lists of messages."""
    sides = (("prompt", "user"), ("completion", "assistant"))
    return [
        turn
        for field, role in sides
        for turn in (_list(field, row) if isinstance(row[field], list) else [_turn(role, row[field])])
    ]


def _response(row: Fields) -> list[Turn]:
    return [_turn("user", row["prompt"]), _turn("assistant", row["response"])]


def _system(row: Fields) -> list[Turn]:
    return [_turn("system", row["system"])] if row.get("system") else []


def _turn(role: str, content: Any) -> Turn:
    return {"role": role, "content": content}


LAYOUTS: dict[str, Layout] = {
    layout.name: layout
    for layout in (
        Layout(
            "messages", ("messages",), (), "messages: role and content", lambda row: _list("messages", row)
        ),
        Layout(
            "sharegpt", ("conversations",), ("system",), "conversations: from and value, system", _sharegpt
        ),
        Layout(
            "alpaca",
            ("instruction", "output"),
            ("input", "system", "history"),
            "instruction, input, output, system, history",
            _alpaca,
        ),
        Layout("dolly", ("instruction", "response"), ("context",), "instruction, context, response", _dolly),
        Layout(
            "prompt-completion",
            ("prompt", "completion"),
            (),
            "prompt, completion: text or lists of messages",
            _completion,
        ),
        Layout("prompt-response", ("prompt", "response"), (), "prompt, response", _response),
    )
}
"""Known layouts by name, in the order they are tried."""
