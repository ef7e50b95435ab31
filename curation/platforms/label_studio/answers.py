"""From a task with its annotations to an item with the answers that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

from curation.errors import PlatformError, SampleError
from curation.platforms.contract import Answer, RemoteItem
from curation.platforms.label_studio.mapping import AnswerMapping, Options

FIELDS = "id,data,updated_at,annotations,result,completed_by,was_cancelled,ground_truth,updated_by"
"""What to ask of tasks. Their annotations, too, come with no other fields than these."""


def read_task(task: Mapping[str, Any], options: Options, reviewer: Callable[[Any], str]) -> RemoteItem:
    """The item that a task is. `reviewer` names the user of a number."""
    sample, problem = None, None
    try:
        sample = options.text.sample(cast("Mapping[str, Any]", task.get("data") or {}))
    except SampleError as error:
        problem = error.message
    given = cast("list[Mapping[str, Any]]", task.get("annotations") or [])
    read = (read_annotation(annotation, options.answers, reviewer) for annotation in given)
    updated_at = datetime.fromisoformat(task["updated_at"])
    answers = tuple(answer for answer in read if answer)
    return RemoteItem(str(task["id"]), updated_at, sample, problem, answers)


def read_annotation(
    annotation: Mapping[str, Any], mapping: AnswerMapping, reviewer: Callable[[Any], str]
) -> Answer | None:
    """What an annotation says, None unless it is a reviewer's finished answer.

    The server checks neither required controls nor their values, so that is done here. What was skipped says nothing,
    and neither does a ground truth that came with an import: no reviewer of this project decided it.
    """
    if "result" not in annotation:
        raise PlatformError(
            "Label Studio sent annotations without what they say",
            "This version of curation does not know that server: update one of the two.",
        )
    imported = annotation.get("ground_truth") and annotation.get("updated_by") is None
    if annotation.get("was_cancelled") or imported or not annotation.get("completed_by"):
        return None
    chosen = _values(annotation, mapping.control)
    verdicts = {mapping.approve: "approve", mapping.reject: "reject"}
    if len(chosen) != 1 or chosen[0] not in verdicts:
        return None
    verdict = verdicts[chosen[0]]
    reasons = _values(annotation, mapping.reason) if mapping.reason and verdict == "reject" else []
    notes = _values(annotation, mapping.note) if mapping.note else []
    return Answer(
        str(annotation["id"]),
        "approve" if verdict == "approve" else "reject",
        reviewer(annotation.get("completed_by")),
        datetime.fromisoformat(annotation["updated_at"]),
        ", ".join(reasons) or None,
        "\n".join(notes) or None,
    )


def _values(annotation: Mapping[str, Any], control: str) -> list[str]:
    """Everything that an annotation says by one control; what is not shaped as it should be says nothing."""
    values: list[str] = []
    result = annotation.get("result")
    for region in cast("list[Any]", result) if isinstance(result, list) else []:
        if not isinstance(region, dict):
            continue
        fields = cast("dict[str, Any]", region)
        value = fields.get("value")
        if fields.get("from_name") != control or not isinstance(value, dict):
            continue
        held = cast("dict[str, Any]", value)
        said = held.get("choices", held.get("text", []))
        said = [said] if isinstance(said, str) else said
        if isinstance(said, list):
            values += [text for text in cast("list[Any]", said) if isinstance(text, str)]
    return values
