"""Rows as training programs take them.

A row that would not be read back as the very sample it stands for is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from curation.errors import SampleError
from curation.samples.layouts import LAYOUTS, detect
from curation.samples.sample import Sample, Train

Format = Literal["jsonl", "parquet", "hf", "messages", "alpaca", "sharegpt"]
FORMATS: tuple[Format, ...] = get_args(Format)

_SPEAKERS = {"user": "human", "assistant": "gpt", "system": "system", "tool": "observation"}


def layout_of(form: Format) -> str:
    """The layout, as `curation.samples` calls it, of a format's rows."""
    return form if form in ("alpaca", "sharegpt") else "messages"


def keeps_fields(form: Format) -> bool:
    """Whether rows carry the other fields of the line they come from."""
    return form in ("jsonl", "parquet", "hf")


def fields_of(sample: Sample, metadata: Mapping[str, Any], form: Format) -> dict[str, Any]:
    """The fields of a row. Raises SampleError if the format cannot say what the sample says."""
    match layout_of(form):
        case "alpaca":
            fields = _alpaca(sample)
        case "sharegpt":
            turns = [{"from": _SPEAKERS[m.role], "value": m.content} for m in sample.messages]
            fields = {"conversations": turns}
        case _:
            fields = {"messages": sample.as_chat()}
    if keeps_fields(form):
        if taken := fields.keys() & metadata.keys():
            raise SampleError(f"its line has a field {min(taken)!r} of its own")
        fields |= metadata
    if read_back(fields, form, sample.train) != sample.id:
        raise SampleError("its conversation has a form that this format does not have")
    return fields


def read_back(fields: Mapping[str, Any], form: Format, train: Train) -> str | None:
    """The id of the sample that a reader makes of a row; None: it makes none."""
    layout = LAYOUTS[layout_of(form)]
    try:
        if detect([fields]) is layout:
            return Sample.from_messages(layout.convert(fields), train).id
    except SampleError:
        pass
    return None


def _alpaca(sample: Sample) -> dict[str, Any]:
    messages = list(sample.messages)
    system = messages.pop(0).content if messages[0].role == "system" else None
    roles = [message.role for message in messages]
    if roles != ["user", "assistant"] * (len(messages) // 2):
        raise SampleError("its turns are not pairs of user and assistant")
    texts = [message.content for message in messages]
    fields: dict[str, Any] = {"instruction": texts[-2], "input": "", "output": texts[-1]}
    if system is not None:
        fields["system"] = system
    if len(texts) > 2:
        fields["history"] = [texts[i : i + 2] for i in range(0, len(texts) - 2, 2)]
    return fields
