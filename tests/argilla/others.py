"""Datasets that were not made by us, as their makers would set them up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.argilla.server import Argilla

CHAT = {"type": "chat", "use_markdown": False}
TEXT = {"type": "text", "use_markdown": False}


def labels(*values: str) -> dict[str, Any]:
    return {"type": "label_selection", "options": [{"value": each, "text": each} for each in values]}


def make(
    argilla: Argilla,
    workspace_id: str,
    name: str,
    fields: Mapping[str, Any],
    questions: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]] = (),
    properties: Mapping[str, Any] | None = None,
) -> str:
    """A published dataset with records; returns its id."""
    http = argilla.owner
    body = {"name": name, "workspace_id": workspace_id, "allow_extra_metadata": True}
    dataset = http.post("/datasets", json=body).raise_for_status().json()["id"]
    parts = {"fields": fields, "questions": questions, "metadata-properties": properties or {}}
    for part, each in parts.items():
        for i, (title, settings) in enumerate(each.items()):
            made: dict[str, Any] = {"name": title, "title": title, "settings": settings}
            if part != "metadata-properties":
                made["required"] = i == 0
            http.post(f"/datasets/{dataset}/{part}", json=made).raise_for_status()
    http.put(f"/datasets/{dataset}/publish").raise_for_status()
    if records:
        items = {"items": list(records)}
        http.post(f"/datasets/{dataset}/records/bulk", json=items).raise_for_status()
    return dataset
