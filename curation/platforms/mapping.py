"""How what a platform holds is read: where its items have their conversations, and which of its answers means what.

Both are given by the user or found by names that people usually choose.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from pydantic import BaseModel, ConfigDict

from curation.errors import InputError, SampleError
from curation.samples.layouts import LAYOUTS, detect
from curation.samples.sample import Sample, Train

DEFAULT_HEAD = 20_000
"""Platforms slow down with their size: what comes behind waits in the ledger until the head is reviewed."""

_APPROVE = ("approve", "approved", "accept", "accepted", "keep", "ok", "safe", "good", "yes")
_REJECT = ("reject", "rejected", "remove", "discard", "drop", "unsafe", "bad", "no")


class TextMapping(BaseModel):
    """Where an item's fields hold its conversation: a layout of rows, a field of messages, or one field per side.

    Fields may be paths such as `row.messages`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: str | None = None
    messages: str | None = None
    prompt: str | None = None
    answer: str | None = None
    system: str | None = None
    train: Train = "last"

    def sample(self, data: Mapping[str, Any]) -> Sample:
        """The conversation in an item's fields. Raises SampleError if there is none."""
        train: Train = "all" if data.get("train") == "all" else self.train
        if self.layout:
            return Sample.from_messages(LAYOUTS[self.layout].convert(data), train)
        if self.messages:
            turns = _field(data, self.messages)
            if not isinstance(turns, list):
                raise SampleError(f"{self.messages!r:.60} is not a list of messages")
            return Sample.from_messages(cast("list[Any]", turns), train)
        sides = (("system", self.system), ("user", self.prompt), ("assistant", self.answer))
        turns = [{"role": role, "content": _field(data, name)} for role, name in sides if name]
        return Sample.from_messages([turn for turn in turns if turn["content"] is not None], train)


class AnswerMapping(BaseModel):
    """Which control (or question) decides and which of its values mean what; those that say why, if there are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    control: str = "decision"
    approve: str = "Approve"
    reject: str = "Reject"
    reason: str | None = None
    note: str | None = None


def detect_text(items: Iterable[Mapping[str, Any]], thing: str) -> TextMapping:
    """How the fields of items hold conversations, by the names of the fields.

    Raises InputError, saying how to name the fields, if that cannot be told. `thing`: what items are called there.
    """
    try:
        return TextMapping(layout=detect([fields.keys() for fields in items]).name)
    except InputError as error:
        raise InputError(
            f"the {thing} hold no conversation that is known: {error.message}",
            "Say where it is: --messages FIELD, or --prompt FIELD --answer FIELD. A path such as row.messages works.",
        ) from None


def choose_answers(
    controls: Mapping[str, list[str]], given: Mapping[str, str | None], thing: str, hint: str
) -> AnswerMapping:
    """Which of the controls decides; `controls` holds the values of each, none of one that takes free text.

    `given` holds what the user said of it: `approve` and `reject` as CONTROL=VALUE, `reason` and `note` as names.
    Raises InputError, listing the controls, if none fits. `thing`: what a control is called there.
    """
    listed = f"{_listed(controls, thing)} {hint}"
    extra = {name: given.get(name) for name in ("reason", "note")}
    for name in extra.values():
        if name is not None and name not in controls:
            raise InputError(f"there is no {thing} named {name!r:.60}", listed)
    if given.get("approve") or given.get("reject"):
        sides = given.get("approve") or "", given.get("reject") or ""
        return _given(controls, sides, extra, thing, listed)
    fitting = [
        AnswerMapping(control=name, approve=yes, reject=no, **extra)
        for name, values in controls.items()
        if (yes := _one_of(_APPROVE, values)) and (no := _one_of(_REJECT, values))
    ]
    if len(fitting) == 1:
        return fitting[0]
    problem = f"more than one {thing}" if fitting else f"no {thing}"
    raise InputError(f"{problem} says approve and reject", listed)


def _given(
    controls: Mapping[str, list[str]],
    given: tuple[str, str],
    extra: Mapping[str, str | None],
    thing: str,
    listed: str,
) -> AnswerMapping:
    sides = [tuple(text.split("=", 1)) for text in given]
    if any(len(side) != 2 for side in sides) or sides[0][0] != sides[1][0]:
        raise InputError(f"approve and reject must be two values of one {thing}", listed)
    (control, yes), (_, no) = cast("list[tuple[str, str]]", sides)
    if yes == no or yes not in controls.get(control, ()) or no not in controls.get(control, ()):
        raise InputError(f"the {thing} {control!r:.60} does not have both values", listed)
    return AnswerMapping(control=control, approve=yes, reject=no, **extra)


def _one_of(words: tuple[str, ...], values: list[str]) -> str | None:
    return next((value for word in words for value in values if value.strip().lower() == word), None)


def _listed(controls: Mapping[str, list[str]], thing: str) -> str:
    shown = "; ".join(f"{name}: {', '.join(values[:8]) or 'free text'}" for name, values in controls.items())
    return (
        f"There is {shown or 'none'}. Name values with "
        f"--approve {thing.upper()}=VALUE --reject {thing.upper()}=VALUE."
    )


def _field(data: Mapping[str, Any], path: str) -> Any:
    """A field by its name, else by its path."""
    if path in data:
        return data[path]
    value: Any = data
    for part in path.removeprefix("$.").split("."):
        if not isinstance(value, Mapping) or part not in value:
            raise SampleError(f"no {path!r:.60}")
        value = cast("Mapping[str, Any]", value)[part]
    return value
