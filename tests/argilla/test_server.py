"""The servers that the other tests of this folder rely on."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.argilla.server import Argilla, OwnArgilla

pytestmark = pytest.mark.slow


@pytest.fixture
def dataset(argilla: Argilla) -> str:
    """Id of a published dataset with a text, a decision and a metadata property `risk` that annotators do not see."""
    http = argilla.owner
    body = {"name": "samples", "workspace_id": argilla.workspace()["id"]}
    path = f"/datasets/{http.post('/datasets', json=body).raise_for_status().json()['id']}"
    parts = {
        "fields": {"name": "text", "title": "Text", "required": True, "settings": {"type": "text"}},
        "questions": {
            "name": "decision",
            "title": "Decision",
            "required": True,
            "settings": {
                "type": "label_selection",
                "options": [{"value": "approve", "text": "Approve"}, {"value": "reject", "text": "Reject"}],
            },
        },
        "metadata-properties": {
            "name": "risk",
            "title": "Risk",
            "settings": {"type": "float"},
            "visible_for_annotators": False,
        },
    }
    for part, settings in parts.items():
        http.post(f"{path}/{part}", json=settings).raise_for_status()
    http.put(f"{path}/publish").raise_for_status()
    return path


def put(argilla: Argilla, dataset: str, risks: dict[str, float]) -> list[dict[str, Any]]:
    records = [
        {"external_id": name, "fields": {"text": name}, "metadata": {"risk": risk}}
        for name, risk in risks.items()
    ]
    answer = argilla.owner.put(f"{dataset}/records/bulk", json={"items": records})
    return answer.raise_for_status().json()["items"]


def riskiest_first(argilla: Argilla, dataset: str) -> list[str]:
    """External ids as the search index sorts them."""
    by_risk = {"scope": {"entity": "metadata", "metadata_property": "risk"}, "order": "desc"}
    answer = argilla.owner.post(f"{dataset}/records/search", json={"sort": [by_risk]}).raise_for_status()
    return [item["record"]["external_id"] for item in answer.json()["items"]]


def test_the_index_sorts_by_risk(argilla: Argilla, dataset: str) -> None:
    put(argilla, dataset, {"low": -1.5, "high": 3.25, "middle": 0.0})
    assert riskiest_first(argilla, dataset) == ["high", "middle", "low"]
    put(argilla, dataset, {"low": 4.0})
    assert riskiest_first(argilla, dataset) == ["low", "high", "middle"]


def test_records_and_their_order_outlive_a_killed_server_and_engine(
    own_argilla: OwnArgilla, dataset: str
) -> None:
    put(own_argilla, dataset, {"low": -1.5, "high": 3.25})
    own_argilla.server.kill()
    own_argilla.engine.kill()
    assert not own_argilla.answers()
    own_argilla.start()
    assert riskiest_first(own_argilla, dataset) == ["high", "low"]


def test_an_annotator_sees_the_workspace_and_can_sign_in(argilla: Argilla) -> None:
    workspace = argilla.workspace()["id"]
    annotator = argilla.annotator(workspace)
    with argilla.client(annotator.api_key) as http:
        assert http.get("/me").json()["username"] == annotator.username
        assert [item["id"] for item in http.get("/me/workspaces").json()["items"]] == [workspace]
    form = {"username": annotator.username, "password": annotator.password}
    assert argilla.owner.post("/token", data=form).is_success


@pytest.fixture
def listener() -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """An address for webhooks, and what arrives there."""
    arrived: queue.Queue[dict[str, Any]] = queue.Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            arrived.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", arrived
        server.shutdown()


@pytest.mark.usefixtures("argilla_worker")
def test_a_response_rings_a_webhook(
    own_argilla: OwnArgilla, dataset: str, listener: tuple[str, queue.Queue[dict[str, Any]]]
) -> None:
    url, arrived = listener
    body = {"url": url, "events": ["response.created"]}
    hook = own_argilla.owner.post("/webhooks", json=body).raise_for_status().json()
    try:
        (record,) = put(own_argilla, dataset, {"high": 3.25})
        response = {"status": "submitted", "values": {"decision": {"value": "reject"}}}
        own_argilla.owner.post(f"/records/{record['id']}/responses", json=response).raise_for_status()
        event = arrived.get(timeout=120)
    finally:
        own_argilla.owner.delete(f"/webhooks/{hook['id']}").raise_for_status()
    assert event["type"] == "response.created"
    assert event["data"]["values"] == {"decision": {"value": "reject"}}
