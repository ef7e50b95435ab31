"""From a record with its responses to an item with the answers that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from curation.errors import SampleError
from curation.platforms.argilla.mapping import Options, sample_of
from curation.platforms.contract import Answer, RemoteItem
from curation.platforms.mapping import AnswerMapping


def read_record(
    record: Mapping[str, Any], options: Options, reviewer: Callable[[str | None], str]
) -> RemoteItem:
    """The item that a record is. `reviewer` names the user of an id, None: one who was deleted.

    It goes by the id that the server gave it: records of others may have no external id, and one that was edited
    keeps that of another text.
    """
    sample, problem = None, None
    try:
        sample = sample_of(record, options)
    except SampleError as error:
        problem = error.message
    given = cast("list[Mapping[str, Any]]", record.get("responses") or [])
    read = (read_response(response, options.answers, reviewer) for response in given)
    answers = tuple(answer for answer in read if answer)
    return RemoteItem(str(record["id"]), moment(record["updated_at"]), sample, problem, answers)


def read_response(
    response: Mapping[str, Any], mapping: AnswerMapping, reviewer: Callable[[str | None], str]
) -> Answer | None:
    """What a response says, None unless it was submitted.

    A draft is not finished, and one that was discarded may hold an answer that its annotator never gave.
    """
    if response.get("status") != "submitted":
        return None
    values = cast("Mapping[str, Any]", response.get("values") or {})
    chosen = _answered(values, mapping.control)
    if chosen not in (mapping.approve, mapping.reject):
        return None
    rejected = chosen == mapping.reject
    return Answer(
        str(response["id"]),
        "reject" if rejected else "approve",
        reviewer(response.get("user_id")),
        moment(response["updated_at"]),
        _value(values, mapping.reason) if mapping.reason and rejected else None,
        _value(values, mapping.note) if mapping.note else None,
    )


def moment(text: str) -> datetime:
    """A time of the server, which leaves out that it is in UTC."""
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _answered(values: Mapping[str, Any], question: str) -> Any:
    answered = values.get(question)
    return cast("Mapping[str, Any]", answered).get("value") if isinstance(answered, dict) else None


def _value(values: Mapping[str, Any], question: str) -> str | None:
    """What was answered to a question, several labels in one; what is not shaped as it should be says nothing."""
    value = _answered(values, question)
    if isinstance(value, list):
        value = ", ".join(each for each in cast("list[Any]", value) if isinstance(each, str))
    return value if isinstance(value, str) and value else None
