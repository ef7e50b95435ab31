"""Argilla as the contract's tests use it."""

from __future__ import annotations

import html
import urllib.parse
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Engine

from curation.ledger.samples import ensure_dataset
from curation.ledger.targets import add_target
from curation.platforms.argilla import connect
from curation.platforms.argilla.dataset import queue_url
from curation.platforms.opening import ARGILLA, open_argilla
from curation.samples.sample import Sample
from curation.settings import Settings
from tests.argilla.server import Argilla, OwnArgilla
from tests.platforms.rig import DATASET

COLUMNS = {"risk_tier": "tier", "risk_percentile": "percentile", "risk": "risk", "danger": "danger",
           "safety": "safety", "risk_scorer": "scorer"}  # fmt: skip


class ArgillaRig:
    def __init__(self, server: Argilla) -> None:
        self.server = server
        self.url = server.url
        self.settings = Settings(argilla_api_key=server.api_key, lease_seconds=3)  # pyright: ignore
        self.workspace = server.workspace()
        self.dataset = ""
        self.users = server.annotators
        for user in self.users:
            server.let_in(user, self.workspace["id"])
        self._clients = [server.client(user.api_key) for user in self.users]

    def connect(self, engine: Engine, url: str | None = None, **options: Any) -> None:
        api = open_argilla(url or self.url, self.settings)
        plan = connect.plan(
            api,
            self.workspace["name"],
            options.get("name") or uuid.uuid4().hex,
            head=options.get("head"),
            min_submitted=options.get("min_submitted"),
            heat=options.get("heat", False),
            text=None,
            answers={},
        )
        self.dataset = connect.carry_out(api, plan)
        dataset_id = ensure_dataset(engine, DATASET)
        add_target(engine, DATASET, ARGILLA, dataset_id, api.url, self.dataset, plan.options.model_dump())

    def queue(
        self, annotator: int, count: int, *, sorts: list[Any] | bool = True, dataset: str = ""
    ) -> list[dict[str, Any]]:
        """What the annotation page asks for and gets when an annotator opens the printed address."""
        address = urllib.parse.urlsplit(queue_url(self.url, self.dataset, ""))
        query = dict(urllib.parse.parse_qsl(address.query))
        assert address.path == f"/dataset/{self.dataset}/annotation-mode"
        entity, name, order = query["sort"].split(".")
        assert (entity, query["status"]) == ("metadata", "pending")
        pending = [
            {"type": "terms", "scope": {"entity": each, "property": "status"}, "values": ["pending"]}
            for each in ("response", "record")
        ]
        body: dict[str, Any] = {"filters": {"and": pending}}
        if sorts is True:
            sorts = [{"scope": {"entity": entity, "metadata_property": name}, "order": order}]
        if sorts:
            body["sort"] = sorts
        path = f"/me/datasets/{dataset or self.dataset}/records/search"
        found = self._clients[annotator].post(path, json=body, params={"limit": count})
        return [item["record"] for item in found.raise_for_status().json()["items"]]

    def served(self, annotator: int, count: int) -> list[str]:
        questions: list[str] = []
        for _ in range(count):
            (record,) = self.queue(annotator, 1)
            questions.append(question_of(record))
            self.answer(record["id"], "approve", annotator)
        return questions

    def listed(self) -> list[str]:
        sort = [{"scope": {"entity": "metadata", "metadata_property": "risk_place"}, "order": "asc"}]
        path = f"/datasets/{self.dataset}/records/search"
        found = self.server.owner.post(path, json={"sort": sort}, params={"limit": 1000}).raise_for_status()
        return [question_of(item["record"]) for item in found.json()["items"]]

    def records(self) -> list[dict[str, Any]]:
        path = f"/datasets/{self.dataset}/records"
        return self.server.owner.get(path, params={"limit": 1000}).raise_for_status().json()["items"]

    def find(self, question: str) -> str:
        (found,) = [record for record in self.records() if question_of(record) == question]
        return found["id"]

    def shown(self, remote_id: str) -> dict[str, Any]:
        metadata = self._record(remote_id)["metadata"]
        return {column: metadata.get(name) for name, column in COLUMNS.items()}

    def text(self, remote_id: str) -> list[tuple[str, str]]:
        turns = self._record(remote_id)["fields"]["messages"]
        return [(turn["role"], html.unescape(turn["content"])) for turn in turns]

    def answer(self, remote_id: str, verdict: str, annotator: int = 0, reason: str | None = None) -> str:
        return self._respond(remote_id, "submitted", verdict, annotator, reason)

    def change(self, answer: str, verdict: str) -> None:
        body = {"status": "submitted", "values": _values(verdict, None)}
        self.server.owner.put(f"/responses/{answer}", json=body).raise_for_status()

    def delete(self, answer: str) -> None:
        self.server.owner.delete(f"/responses/{answer}").raise_for_status()

    def skip(self, remote_id: str, annotator: int = 0) -> None:
        self._respond(
            remote_id, "discarded", "reject", annotator
        )  # as the page does, if something was chosen

    def draft(self, remote_id: str, annotator: int = 0) -> str:
        return self._respond(remote_id, "draft", "reject", annotator)

    def edit(self, remote_id: str, answer: str) -> None:
        turns = self._record(remote_id)["fields"]["messages"]
        turns[-1]["content"] = answer
        self.put(remote_id, fields={"messages": turns})

    def put(self, remote_id: str, **values: Any) -> None:
        """Change a record as the SDK does: the server answers 500 to a PATCH of a chat field."""
        body = {"items": [{"id": remote_id, **values}]}
        self.server.owner.put(f"/datasets/{self.dataset}/records/bulk", json=body).raise_for_status()

    def remove(self, remote_id: str) -> None:
        self.server.owner.delete(f"/records/{remote_id}").raise_for_status()

    def add(self, samples: Sequence[Sample]) -> list[str]:
        items = [{"fields": {"messages": sample.as_chat()}} for sample in samples]
        made = self.server.owner.post(f"/datasets/{self.dataset}/records/bulk", json={"items": items})
        return [record["id"] for record in made.raise_for_status().json()["items"]]

    def reviewer(self, annotator: int) -> str:
        return self.users[annotator].username

    def makes_items(self, method: str, path: str) -> bool:
        return method == "PUT" and path.endswith("/records/bulk")

    def kill(self) -> None:
        assert isinstance(self.server, OwnArgilla)
        self.server.server.kill()

    def start(self) -> None:
        assert isinstance(self.server, OwnArgilla)
        self.server.server.start()

    def _respond(
        self, remote_id: str, status: str, verdict: str, annotator: int, reason: str | None = None
    ) -> str:
        body = {"status": status, "values": _values(verdict, reason)}
        made = self._clients[annotator].post(f"/records/{remote_id}/responses", json=body)
        return made.raise_for_status().json()["id"]

    def _record(self, remote_id: str) -> dict[str, Any]:
        return self.server.owner.get(f"/records/{remote_id}").raise_for_status().json()


def question_of(record: dict[str, Any]) -> str:
    return html.unescape(record["fields"]["messages"][0]["content"])


def _values(verdict: str, reason: str | None) -> dict[str, Any]:
    said = {"decision": {"value": verdict}}
    return said | ({"reason": {"value": reason}} if reason else {})
