"""The Data Manager's tabs: the queue in the order of risk, and one tab for each tier."""

from __future__ import annotations

from typing import Any

from curation.platforms.label_studio.api import Api
from curation.triage import TIERS

RISKIEST = "Riskiest first"
NOT_SCORED = "Not scored"

_SHOWN = ("id", "total_annotations", "cancelled_annotations", "annotators", "completed_at", "messages", "instruction",
          "response")  # fmt: skip


def ensure(api: Api, project: int, prefix: str) -> list[str]:
    """Make the tabs that are missing, by title, and return those titles.

    A tab that is there stays as its users arranged it. The server drops all of them with a project's last task.
    """
    there = {view["data"].get("title") for view in api.get("/api/dm/views/", project=project)}
    missing = [title for title in titles() if title not in there]
    if missing:
        columns = api.get("/api/dm/columns/", project=project)["columns"]
        for title in missing:
            body = {"project": project, "data": _view(title, columns, prefix)}
            api.request("POST", "/api/dm/views/", json=body)
    return missing


def titles() -> list[str]:
    return [RISKIEST, *(f"Risk: {tier}" for tier in TIERS), NOT_SCORED]


def _view(title: str, columns: list[dict[str, Any]], prefix: str) -> dict[str, Any]:
    conditions = [
        {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}
    ]
    if title != RISKIEST:
        tier = "^(quarantined|unscored)$" if title == NOT_SCORED else f"^{title.removeprefix('Risk: ')}$"
        name = f"filter:tasks:data.{prefix}risk_tier"
        conditions.append({"filter": name, "operator": "regex", "type": "String", "value": tier})
    numbers = ("risk_percentile", "risk", "danger", "safety")
    shown = {*_SHOWN, *(prefix + name for name in (*numbers, "risk_tier"))}
    hidden = [
        _column_id(column) for column in columns if column["id"] not in shown and column["id"] != "data"
    ]
    return {
        "title": title,
        "type": "list",
        "target": "tasks",
        "ordering": ["tasks:predictions_score"],
        "filters": {"conjunction": "and", "items": conditions},
        # Without it, Postgres sorts these as texts.
        "columnsDisplayType": {f"tasks:data.{prefix}{name}": "Number" for name in numbers},
        "hiddenColumns": {"explore": hidden, "labeling": hidden},
    }


def _column_id(column: dict[str, Any]) -> str:
    inside = f"{column['parent']}." if column.get("parent") else ""
    return f"tasks:{inside}{column['id']}"
