"""How a sample becomes a record and back, and what a target remembers of a dataset.

Argilla 2.8 runs the HTML in a record's text in the annotator's page. So the text of every record made here is
escaped, shows exactly, and is read back by the very inverse. The texts of other people's datasets are as they are.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, cast

from pydantic import BaseModel, ConfigDict

from curation.errors import SampleError
from curation.platforms.contract import Columns
from curation.platforms.mapping import AnswerMapping, TextMapping
from curation.samples.sample import Sample

FIELD = "messages"
DECISION = "decision"
REASON = "reason"
APPROVE, REJECT = "approve", "reject"

HEAT = "risk_heat"
HEAT_TEMPLATE = (
    "<details style='font-family:sans-serif'><summary>Where the risk comes from</summary>"
    "<div style='white-space:pre-wrap;overflow-wrap:anywhere'>{{{record.fields.risk_heat.html}}}</div></details>"
)
"""A custom field and how the page fills it. It runs scripts in any field of its record: all are escaped."""

PLACE = "risk_place"
"""Metadata property with the place in the queue: the lowest is reviewed first."""

ORDER = "risk_order"
"""Metadata property by which one record of a dataset names the order that all of them are in, since it is complete."""

Kind = Literal["integer", "float", "terms"]
PROPERTIES: Mapping[str, tuple[Kind, str]] = {
    PLACE: ("integer", "Place in the queue, the lowest first"),
    ORDER: ("terms", "Name of this order"),
    "risk": ("float", "Risk, higher = riskier"),
    "risk_percentile": ("integer", "Risk percentile, 100 = riskiest"),
    "risk_tier": ("terms", "Risk tier"),
    "danger": ("float", "Danger, a part of the risk"),
    "safety": ("float", "Safety, a part of the risk"),
    "risk_scorer": ("terms", "Scorer"),
}
"""Metadata properties that a target has, with what an owner of the dataset reads there."""

_COLUMNS = {
    "risk": "risk",
    "risk_percentile": "percentile",
    "risk_tier": "tier",
    "danger": "danger",
    "safety": "safety",
    "risk_scorer": "scorer",
}
_TRAIN = "train"

MAX_MESSAGES = 500
MAX_CHARS = 20_000
"""Limits of a chat field; that of characters is for one message, escaped."""

MAX_FLOAT = 3.4e38
"""The search index keeps numbers in 32 bits."""

_ENTITIES = {"&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#x27;": "'", "&#36;": "$"}
_ENTITY = re.compile("|".join(_ENTITIES))


class Options(BaseModel):
    """What a target remembers of a dataset. `own`: it was made here, so its texts are escaped.

    `prefix` stands before the names of the risk columns, where somebody else's metadata have these names. `head`: how
    many undecided samples it shows at a time. `heat`: whether it has a place for reasons.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    own: bool
    text: TextMapping
    answers: AnswerMapping
    prefix: str = ""
    head: int
    heat: bool = False


def own_options(head: int, *, heat: bool = False) -> Options:
    """The options of a dataset made here."""
    answers = AnswerMapping(control=DECISION, approve=APPROVE, reject=REJECT, reason=REASON)
    return Options(own=True, text=TextMapping(messages=FIELD), answers=answers, head=head, heat=heat)


def escape(text: str) -> str:
    """Text as HTML that shows it exactly; Argilla's page also expands a dollar sign in it."""
    return html.escape(text).replace("$", "&#36;")


def unescape(text: str) -> str:
    """What was escaped; any other entity was there before and stays."""
    return _ENTITY.sub(lambda found: _ENTITIES[found[0]], text)


def record_of(sample: Sample, external_id: str) -> dict[str, Any] | str:
    """The record that shows a sample, or why none can; the reason holds nothing of the text."""
    turns = [{"role": m.role, "content": escape(m.content)} for m in sample.messages]
    if len(turns) > MAX_MESSAGES:
        return f"more than {MAX_MESSAGES} messages"
    if not all(turn["content"] for turn in turns):
        return "a message without text"
    if any(len(turn["content"]) > MAX_CHARS for turn in turns):
        return f"a message of more than {MAX_CHARS:,} characters"
    metadata = {_TRAIN: "all"} if sample.train == "all" else {}
    return {"external_id": external_id, "fields": {FIELD: turns}, "metadata": metadata}


def reason_of(markup: str) -> dict[str, str]:
    """The value of the field HEAT that shows HTML, in which all text is escaped already."""
    return {"html": markup.replace("$", "&#36;")}


def sample_of(record: Mapping[str, Any], options: Options) -> Sample:
    """The sample that a record shows. Raises SampleError if it shows none."""
    fields = cast("Mapping[str, Any]", record.get("fields") or {})
    if not options.own:
        return options.text.sample(fields)
    sample = options.text.sample({FIELD: _unescaped(fields.get(FIELD))})
    every = replace(sample, train="all")
    metadata = cast("Mapping[str, Any]", record.get("metadata") or {})
    # The external id tells it too, where somebody else has overwritten the metadata.
    return every if metadata.get(_TRAIN) == "all" or record.get("external_id") == every.id else sample


def metadata_of(columns: Columns, place: int | None, prefix: str) -> dict[str, str | int | float]:
    """Columns, and the place if it is settled, as metadata: numbers of the very types that the server wants."""
    values: dict[str, Any] = {PLACE: place} | {n: getattr(columns, c) for n, c in _COLUMNS.items()}
    typed = {n: float(v) if PROPERTIES[n][0] == "float" else v for n, v in values.items() if v is not None}
    # Of a record with a number that is too large the index would take nothing at all.
    return {prefix + n: v for n, v in typed.items() if isinstance(v, str) or abs(v) <= MAX_FLOAT}


def merged(metadata: Mapping[str, Any], ours: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """A record's metadata with our part renewed and everybody else's as it was."""
    names = {prefix + name for name in PROPERTIES}
    return {name: value for name, value in metadata.items() if name not in names} | dict(ours)


def _unescaped(turns: Any) -> list[Any]:
    if not isinstance(turns, list):
        raise SampleError(f"{FIELD!r} is not a list of messages")
    return [
        {**turn, "content": unescape(turn["content"])}
        if isinstance(turn, dict) and isinstance(turn.get("content"), str)
        else turn
        for turn in cast("Sequence[Any]", turns)
    ]
