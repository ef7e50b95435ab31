"""The service on a real port, for tests to talk to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import uvicorn
from sqlalchemy import Engine

from curation.ledger.tokens import SCOPES, create_token
from curation.service.app import create_app
from curation.service.server import listen, server
from curation.settings import Settings
from curation.web.sessions import LocalUser

LINES = {"Content-Type": "application/x-ndjson"}
JSON = {"Content-Type": "application/json"}
PATIENCE = 120.0
"""Seconds until a test gives up: far more than anything takes, on a busy machine too."""


@dataclass
class Running:
    """A service, a client with every right on it, and how often it rang."""

    app: Any
    engine: Engine
    url: str
    port: int
    token: str
    client: httpx.Client
    server: uvicorn.Server
    thread: threading.Thread
    rings: list[int] = field(default_factory=list[int])
    tokens: int = 0
    """How many more tokens were made, to name the next one by."""

    def post(self, rows: Iterable[Any], dataset: str = "d", **query: Any) -> httpx.Response:
        """Send rows as lines."""
        return self.client.post(
            f"/v1/datasets/{dataset}/samples", content=ndjson(rows), headers=LINES, params=query
        )


@contextmanager
def serving(
    engine: Engine, ring: Callable[[], None] | None = None, local: LocalUser | None = None, **settings: Any
) -> Generator[Running]:
    rings: list[int] = []
    settings.setdefault("serve_secret", "a key for tests")
    app = create_app(engine, Settings(**settings), ring or (lambda: rings.append(1)), local)
    token = create_token(engine, f"tests {time.monotonic_ns()}", SCOPES)
    running = server(app, grace=1)
    socket = listen("127.0.0.1", 0)
    port = socket.getsockname()[1]
    thread = threading.Thread(target=running.run, kwargs={"sockets": [socket]})
    thread.start()
    url = f"http://127.0.0.1:{port}"
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with httpx.Client(base_url=url, headers=headers, timeout=PATIENCE) as client:
            yield Running(app, engine, url, port, token, client, running, thread, rings)
    finally:
        running.should_exit = True
        thread.join()


def row(text: str, **more: Any) -> dict[str, Any]:
    return {"prompt": f"question {text}", "response": f"answer {text}", **more}


def rows(n: int) -> Iterator[dict[str, Any]]:
    return (row(str(i)) for i in range(n))


def ndjson(lines: Iterable[Any]) -> bytes:
    """JSON lines; bytes are put as they are, to stand for broken ones."""
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n" for r in lines)


def wait_for(condition: Callable[[], bool]) -> None:
    """Raises TimeoutError if it does not come true within two minutes."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
