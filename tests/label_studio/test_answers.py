"""Which annotations count: the server checks neither what is required nor what is allowed."""

from __future__ import annotations

from typing import Any

import pytest

from curation.errors import PlatformError
from curation.platforms.contract import Answer
from curation.platforms.label_studio.answers import read_annotation, read_task
from curation.platforms.label_studio.mapping import own_options

OPTIONS = own_options("chat", 10)


def choice(control: str, *values: Any) -> dict[str, Any]:
    return {"from_name": control, "to_name": "chat", "type": "choices", "value": {"choices": list(values)}}


def annotation(*result: Any, **fields: Any) -> dict[str, Any]:
    return {
        "id": 7, "result": list(result), "completed_by": 1, "was_cancelled": False, "ground_truth": False,
        "updated_by": 1, "updated_at": "2026-03-01T10:00:00.123456Z",
    } | fields  # fmt: skip


def read(given: dict[str, Any]) -> Answer | None:
    return read_annotation(given, OPTIONS.answers, lambda user: f"user {user}")


def test_a_reject_comes_with_its_reasons_and_note() -> None:
    note = {"from_name": "note", "to_name": "chat", "type": "textarea", "value": {"text": ["one", "two"]}}
    given = read(annotation(choice("decision", "Reject"), choice("reason", "Unsafe", "Other"), note))
    assert given is not None
    assert (given.verdict, given.reason, given.note) == ("reject", "Unsafe, Other", "one\ntwo")
    assert (given.remote_id, given.reviewer) == ("7", "user 1")
    assert given.decided_at.isoformat() == "2026-03-01T10:00:00.123456+00:00"


def test_an_approval_has_no_reason() -> None:
    given = read(annotation(choice("decision", "Approve"), choice("reason", "Unsafe")))
    assert given is not None
    assert (given.verdict, given.reason) == ("approve", None)


@pytest.mark.parametrize(
    "given",
    [
        annotation(),
        annotation(choice("decision", "Maybe")),
        annotation(choice("decision", "approve")),
        annotation(choice("decision", "Approve", "Reject")),
        annotation(choice("decision", "Approve"), choice("decision", "Reject")),
        annotation(choice("other", "Approve")),
        annotation(choice("decision", 1)),
        annotation({"from_name": "decision", "value": "Approve"}, "Approve", None),
        annotation(choice("decision", "Approve")) | {"result": "Approve"},
        annotation(choice("decision", "Approve"), was_cancelled=True),
        annotation(choice("decision", "Approve"), ground_truth=True, updated_by=None),
        annotation(choice("decision", "Approve"), completed_by=None),
    ],
    ids=lambda given: str(given["result"])[:40],
)
def test_what_is_not_a_reviewers_answer_says_nothing(given: dict[str, Any]) -> None:
    assert read(given) is None


def test_a_reviewers_own_ground_truth_is_an_answer() -> None:
    assert read(annotation(choice("decision", "Approve"), ground_truth=True)) is not None


def test_an_annotation_without_what_it_says_stops_the_reading() -> None:
    trimmed = {"id": 7, "updated_at": "2026-03-01T10:00:00.123456Z"}
    with pytest.raises(PlatformError, match="without what they say"):
        read(trimmed)


def test_a_task_without_a_conversation_says_why() -> None:
    task = {"id": 3, "data": {"messages": "text"}, "annotations": [], "updated_at": "2026-03-01T10:00:00Z"}
    item = read_task(task, OPTIONS, str)
    assert item.sample is None
    assert item.problem == "'messages' is not a list of messages"
