"""A proxy on loopback that breaks what passes through it in the ways that networks and servers do."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal

import httpx

Fault = Literal["drop", "lose"] | int
"""drop: the request never arrives. lose: it does, and its answer gets lost. A number: that status instead."""


Decide = Callable[[str, str], Fault | None]


class Proxy:
    """`fault` decides on each request, given as method and path; None lets it pass."""

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.fault: Decide = lambda method, path: None
        self.seen: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one_request(self) -> None:
                self.raw_requestline = self.rfile.readline(65537)
                if not self.raw_requestline or not self.parse_request():
                    self.close_connection = True
                    return
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                path = self.path.partition("?")[0]
                proxy.seen.append((self.command, path))
                fault = proxy.fault(self.command, path)
                if fault == "drop":
                    self.close_connection = True
                    return
                if isinstance(fault, int):
                    self._reply(fault, {}, b'{"detail": "a fault of the proxy"}')
                    return
                headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
                url = proxy.upstream + self.path
                try:
                    answer = httpx.request(
                        self.command, url, content=body, headers=headers, timeout=300, trust_env=False
                    )
                except httpx.HTTPError:
                    self.close_connection = True
                    return
                if fault == "lose":
                    self.close_connection = True
                    return
                self._reply(answer.status_code, dict(answer.headers), answer.content)

            def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name in ("content-type", "location"):
                    if name in headers:
                        self.send_header(name, headers[name])
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


@contextmanager
def proxy(upstream: str) -> Generator[Proxy]:
    made = Proxy(upstream)
    try:
        yield made
    finally:
        made.close()
