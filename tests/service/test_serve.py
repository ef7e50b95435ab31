"""`curation serve` as its operator meets it: a real process."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from curation.ledger import open_ledger
from curation.ledger.tokens import SCOPES, create_token
from tests.service.process import PROGRAM, Served, program, served
from tests.service.running import LINES, PATIENCE, ndjson, row, rows

pytestmark = pytest.mark.slow


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


def first_lines(home: Path, *args: str) -> str:
    """What `curation serve` says before the first request; it is told to stop as soon as it answers."""
    started = program("serve", "--port", "0", *args, home=home)
    assert started.stdout
    said = started.stdout.readline()
    port = int(said.strip().rsplit(":", 1)[1])
    with socket.create_connection(("127.0.0.1", port)):
        pass
    httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=PATIENCE)
    started.send_signal(signal.SIGINT)
    said += started.stdout.read()
    started.wait(PATIENCE)
    return said


def test_it_says_where_it_listens_and_how_to_let_somebody_in(tmp_path: Path) -> None:
    said = first_lines(tmp_path)
    assert said.startswith("listening on http://127.0.0.1:")
    assert "curation token create" in said
    assert "/login#" in said
    assert "unencrypted" not in said
    create_token(open_ledger(home=tmp_path), "a", SCOPES)
    said = first_lines(tmp_path, "--host", "0.0.0.0")
    assert "curation token create" not in said
    assert "/login" not in said
    assert "unencrypted" in said


def test_its_log_has_routes_and_numbers_and_nothing_that_was_sent(process: Served) -> None:
    secret = "SECRET"
    with httpx.Client(base_url=process.url, headers=process.headers, timeout=PATIENCE) as client:
        sent = ndjson([row(secret), b"{SECRET"])
        assert client.post(f"/v1/datasets/{secret}/samples", content=sent, headers=LINES).status_code == 200
        client.get(f"/v1/datasets/{secret}/queue", params={"after": secret})
        client.get(f"/{secret}")
        client.get("/v1/datasets", headers={"Authorization": f"Bearer cur_{secret}"})
    log = process.log.read_text()
    assert "POST /v1/datasets/{name}/samples 200 " in log
    assert "GET /v1/datasets 401 " in log
    assert secret not in log
    assert "cur_" not in log


def test_it_stops_in_time_even_with_a_sender_in_the_middle(process: Served) -> None:
    host, port = process.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:
        lines = ndjson(rows(10))
        raw.sendall(
            (
                "POST /v1/datasets/d/samples HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n"
                f"Authorization: {process.headers['Authorization']}\r\nContent-Length: 10000\r\n\r\n"
            ).encode()
            + lines
        )
        running = psutil.Process(process.pid)
        running.terminate()
        running.wait(PATIENCE)


def test_it_does_not_start_on_a_postgres_ledger_that_is_not_upgraded(
    tmp_path: Path, postgres_url: str
) -> None:
    started = program("serve", "--port", "0", home=tmp_path, CURATION_DATABASE_URL=postgres_url)
    assert started.wait(PATIENCE) == 1
    assert "curation db upgrade" in (tmp_path / "stderr").read_text()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"CURATION_SERVE_RATE": "quickly"}, "serve_rate"),
        ({"CURATION_SERVE_MAX_BODY": "0"}, "serve_max_body"),
    ],
)
def test_settings_that_cannot_be_used_are_named(tmp_path: Path, given: dict[str, str], says: str) -> None:
    assert program("serve", "--port", "0", home=tmp_path, **given).wait(PATIENCE) == 1
    assert says in (tmp_path / "stderr").read_text()


def test_a_port_that_is_taken_is_named(process: Served, tmp_path: Path) -> None:
    port = process.url.rsplit(":", 1)[1]
    assert program("serve", "--port", port, home=tmp_path / "other").wait(PATIENCE) == 1
    assert f"port {port}" in (tmp_path / "other" / "stderr").read_text()


def test_an_installation_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    code = f"import sys; sys.modules['fastapi'] = None; {PROGRAM}"
    started: subprocess.Popen[str] = program("serve", home=tmp_path, code=code)
    assert started.wait(PATIENCE) == 1
    assert "pip install 'curation[serve]'" in (tmp_path / "stderr").read_text()
