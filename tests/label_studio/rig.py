"""Label Studio as the contract's tests use it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from curation.ledger.samples import ensure_dataset
from curation.ledger.targets import add_target
from curation.platforms.label_studio import connect
from curation.platforms.opening import LABEL_STUDIO, open_label_studio
from curation.samples.sample import Sample
from curation.settings import Settings
from tests.label_studio.server import EMAIL, LabelStudio, OwnLabelStudio
from tests.platforms.rig import DATASET

COLUMNS = {"risk_tier": "tier", "risk_percentile": "percentile", "risk": "risk", "danger": "danger",
           "safety": "safety", "risk_scorer": "scorer"}  # fmt: skip


class LabelStudioRig:
    def __init__(self, server: LabelStudio) -> None:
        self.server = server
        self.url = server.url
        self.settings = Settings(label_studio_token=server.token, lease_seconds=3)  # pyright: ignore
        self.project = ""
        second, token = server.annotator
        self._emails = [EMAIL, second]
        self._clients = [server.owner, server.client(token)]

    def connect(self, engine: Engine, url: str | None = None, **options: Any) -> None:
        api = open_label_studio(url or self.url, self.settings)
        plan = connect.plan(
            api,
            uuid.uuid4().hex,
            [],
            kind=options.get("kind"),
            heat=options.get("heat", False),
            head=options.get("head"),
            text=None,
            answers={},
        )
        self.project = str(connect.carry_out(api, plan))
        dataset_id = ensure_dataset(engine, DATASET)
        add_target(
            engine, DATASET, LABEL_STUDIO, dataset_id, api.url, self.project, plan.options.model_dump()
        )

    def served(self, annotator: int, count: int) -> list[str]:
        questions: list[str] = []
        for _ in range(count):
            task = (
                self._clients[annotator].get(f"/api/projects/{self.project}/next").raise_for_status().json()
            )
            questions.append(_question(task["data"]))
            self.answer(str(task["id"]), "approve", annotator)
        return questions

    def listed(self) -> list[str]:
        params = {
            "project": self.project,
            "fields": "all",
            "include": "id,data",
            "page_size": 1000,
            "query": json.dumps({"ordering": ["tasks:predictions_score"]}),
        }
        tasks = self.server.owner.get("/api/tasks/", params=params).raise_for_status().json()["tasks"]
        return [_question(task["data"]) for task in tasks]

    def find(self, question: str) -> str:
        (found,) = [t for t in self.server.tasks(self.project) if _question(t["data"]) == question]
        return str(found["id"])

    def shown(self, remote_id: str) -> dict[str, Any]:
        data = self._task(remote_id)["data"]
        return {column: data.get(field) for field, column in COLUMNS.items()}

    def text(self, remote_id: str) -> list[tuple[str, str]]:
        return [(turn["role"], turn["content"]) for turn in self._task(remote_id)["data"]["messages"]]

    def answer(self, remote_id: str, verdict: str, annotator: int = 0, reason: str | None = None) -> str:
        body = {"result": _result(verdict, reason)}
        made = self._clients[annotator].post(f"/api/tasks/{remote_id}/annotations/", json=body)
        return str(made.raise_for_status().json()["id"])

    def change(self, answer: str, verdict: str) -> None:
        body = {"result": _result(verdict, None)}
        self.server.owner.patch(f"/api/annotations/{answer}/", json=body).raise_for_status()

    def delete(self, answer: str) -> None:
        self.server.owner.delete(f"/api/annotations/{answer}/").raise_for_status()

    def skip(self, remote_id: str, annotator: int = 0) -> None:
        body = {"result": [], "was_cancelled": True}
        path = f"/api/tasks/{remote_id}/annotations/"
        self._clients[annotator].post(path, json=body, params={"was_cancelled": 1}).raise_for_status()

    def edit(self, remote_id: str, answer: str) -> None:
        data = self._task(remote_id)["data"]
        data["messages"][-1]["content"] = answer
        self.server.owner.patch(f"/api/tasks/{remote_id}/", json={"data": data}).raise_for_status()

    def remove(self, remote_id: str) -> None:
        self.server.owner.delete(f"/api/tasks/{remote_id}/").raise_for_status()

    def add(self, samples: Sequence[Sample]) -> list[str]:
        tasks = [{"data": {"messages": sample.as_chat()}} for sample in samples]
        made = self.server.owner.post(
            f"/api/projects/{self.project}/import", params={"return_task_ids": "true"}, json=tasks
        )
        return [str(task_id) for task_id in made.raise_for_status().json()["task_ids"]]

    def reviewer(self, annotator: int) -> str:
        return self._emails[annotator]

    def makes_items(self, method: str, path: str) -> bool:
        return method == "POST" and path.endswith("/import")

    def kill(self) -> None:
        assert isinstance(self.server, OwnLabelStudio)
        self.server.server.kill()

    def start(self) -> None:
        assert isinstance(self.server, OwnLabelStudio)
        self.server.server.start()

    def _task(self, remote_id: str) -> dict[str, Any]:
        params = {"resolve_uri": "false"}
        return self.server.owner.get(f"/api/tasks/{remote_id}/", params=params).raise_for_status().json()


def _question(data: dict[str, Any]) -> str:
    return data["messages"][0]["content"] if "messages" in data else data["instruction"]


def _result(verdict: str, reason: str | None) -> list[dict[str, Any]]:
    def choice(control: str, value: str) -> dict[str, Any]:
        return {"from_name": control, "to_name": "chat", "type": "choices", "value": {"choices": [value]}}

    said = [choice("decision", verdict.capitalize())]
    return said + ([choice("reason", reason)] if reason else [])
