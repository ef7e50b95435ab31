"""A real receiver of webhooks for tests: it keeps what it gets, and answers what it is told to."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook


@dataclass
class Receiver:
    """`answers`: statuses of the answers to come; 204 after them. `received`: headers and body of each request."""

    port: int = 0
    scheme: str = "http"
    answers: list[int] = field(default_factory=list[int])
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list[tuple[dict[str, str], bytes]])

    @property
    def url(self) -> str:
        return f"{self.scheme}://localhost:{self.port}/hook?key=hidden"

    def names(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.received]

    def messages(self, secret: str) -> list[dict[str, Any]]:
        """All messages, their signatures checked as a receiver does."""
        for headers, body in self.received:
            Webhook(secret).verify(body, headers)
        return [json.loads(body) for _, body in self.received]


@contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Generator[Receiver]:
    """A receiver on a free port of this machine."""
    kept = Receiver(scheme="https" if tls else "http")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            kept.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            status = kept.answers.pop(0) if kept.answers else 204
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", kept.url)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        server.server_close()
