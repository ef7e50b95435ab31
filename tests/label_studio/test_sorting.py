"""The Data Manager sorts and filters the risk columns as numbers, on either database of the server."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from tests.label_studio.rig import LabelStudioRig
from tests.label_studio.server import LabelStudio
from tests.platforms.rig import Ledger

pytestmark = pytest.mark.slow

VALUES = [9.5, 10.2, -0.3, 1e-5, 100.0, 2.0, 0.25, 1.5e-7, 12.0, 0.1, -25.0]


@pytest.fixture
def rig(label_studio: LabelStudio) -> LabelStudioRig:
    return LabelStudioRig(label_studio)


def test_columns_sort_as_numbers_in_every_tab(rig: LabelStudioRig, sqlite: Engine) -> None:
    book = Ledger(sqlite)
    book.ingest([f"q{i}" for i in range(len(VALUES))])
    book.score({f"q{i}": value for i, value in enumerate(VALUES)})
    rig.connect(book.engine)
    book.sync(rig)
    views = rig.server.owner.get("/api/dm/views/", params={"project": rig.project}).json()
    assert views[0]["data"]["title"] == "Riskiest first"
    assert risks(rig, views[0]["id"]) == sorted(VALUES, reverse=True)
    body = {"project": rig.project, "data": {**views[0]["data"], "ordering": ["-tasks:data.risk"]}}
    made = rig.server.owner.post("/api/dm/views/", json=body).raise_for_status().json()
    assert risks(rig, made["id"]) == sorted(VALUES, reverse=True)
    (critical,) = [view for view in views if view["data"]["title"] == "Risk: critical"]
    assert risks(rig, critical["id"]) == [100.0]
    (none,) = [view for view in views if view["data"]["title"] == "Not scored"]
    assert risks(rig, none["id"]) == []
    rig.answer(rig.find("q4"), "approve")
    assert risks(rig, views[0]["id"]) == sorted(VALUES, reverse=True)[1:]  # unreviewed only


def risks(rig: LabelStudioRig, view: int) -> list[float]:
    params: dict[str, Any] = {"project": rig.project, "view": view, "fields": "all", "page_size": 100}
    found = rig.server.owner.get("/api/tasks/", params=params).raise_for_status().json()["tasks"]
    return [task["data"]["risk"] for task in found]
