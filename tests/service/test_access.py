"""Who may ask: tokens, scopes and limits; and what never leaves: tokens, sample text, details of the inside."""

from __future__ import annotations

import hashlib
import hmac
import logging
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from curation.errors import InputError, LedgerError
from curation.ledger import reading
from curation.ledger.tables import tokens
from curation.ledger.tokens import SCOPES, Scope, create_token, find_token, list_tokens, revoke_token
from curation.service import access
from curation.service.app import create_app
from curation.settings import Settings
from tests.service.running import JSON, PATIENCE, Running, ndjson, row, rows, serving

NEEDS: dict[str, set[str]] = {
    "/v1/datasets": {"read"},
    "/v1/datasets/d/queue": {"read"},
    "/v1/samples/abcdef": {"read"},
    "/v1/status": {"read"},
    "/metrics": {"read", "metrics"},
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def ask(service: Running, address: str, **headers: str) -> httpx.Response:
    return httpx.get(service.url + address, headers=headers, timeout=PATIENCE)


def test_a_token_is_found_until_it_is_revoked(ledger: Engine) -> None:
    first, second = create_token(ledger, "old", ["read"]), create_token(ledger, "new", ["ingest", "read"])
    assert first.startswith("cur_")
    assert len(first) > 40
    with reading(ledger) as conn:
        found = find_token(conn, second)
        assert found is not None
        assert (found.name, found.scopes) == ("new", ("ingest", "read"))
        for wrong in ("", "cur_", first[:-1], first + "x", first.upper(), "cur_\ud800", "cur_\x00"):
            assert find_token(conn, wrong) is None
    revoke_token(ledger, "old")
    with reading(ledger) as conn:
        assert find_token(conn, first) is None
        assert find_token(conn, second) is not None
        assert [(t.name, t.revoked_at is None) for t in list_tokens(conn)] == [("old", False), ("new", True)]


def test_names_and_scopes_of_tokens_are_checked(ledger: Engine) -> None:
    create_token(ledger, "a", ["read"])
    with pytest.raises(LedgerError, match="already"):
        create_token(ledger, "a", ["read"])
    revoke_token(ledger, "a")
    for name in ("a", "nobody"):
        with pytest.raises(LedgerError, match="no live token"):
            revoke_token(ledger, name)
    for name in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(InputError):
            create_token(ledger, name, ["read"])
    wrong: Any = [[], ["admin"], ["read", "admin"]]
    for scopes in wrong:
        with pytest.raises(InputError):
            create_token(ledger, "b", scopes)


def test_the_ledger_does_not_hold_the_token(ledger: Engine) -> None:
    token = create_token(ledger, "a", ["read"])
    with ledger.connect() as conn:
        row = conn.execute(sa.select(tokens)).one()
    assert row.token_hash == hashlib.sha256(token.encode()).hexdigest()
    assert token not in repr(row)


def test_hashes_are_compared_in_constant_time(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    token = create_token(ledger, "a", ["read"])
    compared: list[tuple[str, str]] = []

    def compare(a: str, b: str) -> bool:
        compared.append((a, b))
        return False

    monkeypatch.setattr(hmac, "compare_digest", compare)
    with reading(ledger) as conn:
        assert find_token(conn, token) is None
    assert compared


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_opens_what_its_scope_says(service: Running, scope: Scope) -> None:
    headers = bearer(create_token(service.engine, scope, [scope]))
    service.post(rows(1))
    for address, scopes in NEEDS.items():
        status = ask(service, address, **headers).status_code
        assert (status == 403) == (scope not in scopes), address
        assert status in (200, 403, 404)
    reply = httpx.post(
        f"{service.url}/v1/datasets/d/samples", headers=headers, json=[row("x")], timeout=PATIENCE
    )
    assert reply.status_code == (200 if scope == "ingest" else 403)


def test_no_route_is_forgotten(sqlite: Engine) -> None:
    # a hook has a secret of its own, which tests/label_studio/test_hooks.py tries
    open_to_all = {"/healthz", "/readyz", "/v1/hooks/{target}"}
    described = create_app(sqlite, Settings(serve_secret="a key for tests")).openapi()["paths"]
    assert {path for path, ways in described.items() if not all("security" in w for w in ways.values())} == (
        open_to_all
    )
    known = {p.replace("/d/", "/{name}/").replace("abcdef", "{id}") for p in NEEDS}
    assert set(described) == open_to_all | known | {"/v1/datasets/{name}/samples"}


def wrong_tokens(service: Running) -> Iterator[dict[str, str]]:
    revoked = create_token(service.engine, "gone", SCOPES)
    revoke_token(service.engine, "gone")
    yield {}
    yield bearer(revoked)
    yield bearer("cur_" + "x" * 43)
    yield {"Authorization": "Bearer"}
    yield {"Authorization": service.token}
    yield {"Authorization": f"Basic {service.token}"}
    yield {"Authorization": f"Bearer {service.token} x"}


def test_whatever_is_wrong_with_a_token_the_answer_is_the_same(service: Running) -> None:
    said: set[str] = set()
    for headers in wrong_tokens(service):
        for reply in (
            ask(service, "/v1/datasets", **headers),
            httpx.post(
                f"{service.url}/v1/datasets/d/samples", headers=headers, content=b"x" * 1000, timeout=PATIENCE
            ),
        ):
            assert reply.status_code == 401
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            said.add(reply.text)
    assert len(said) == 1


def test_a_token_ends_when_it_is_revoked_while_its_successor_goes_on(service: Running) -> None:
    old, new = (bearer(create_token(service.engine, name, ["read"])) for name in ("old", "new"))
    assert [ask(service, "/v1/datasets", **h).status_code for h in (old, new)] == [200, 200]
    revoke_token(service.engine, "old")
    assert [ask(service, "/v1/datasets", **h).status_code for h in (old, new)] == [401, 200]


def test_each_token_has_its_own_limit(sqlite: Engine) -> None:
    with serving(sqlite, serve_rate="3/hour") as service:
        replies = [service.client.get("/v1/datasets") for _ in range(4)]
        assert [r.status_code for r in replies] == [200, 200, 200, 429]
        assert 3500 < int(replies[-1].headers["Retry-After"]) <= 3600
        other = create_token(sqlite, "other", ["read"])
        assert ask(service, "/v1/datasets", **bearer(other)).status_code == 200
        assert ask(service, "/healthz").status_code == 200


def test_refused_requests_count_against_the_limit(sqlite: Engine) -> None:
    with serving(sqlite, serve_rate="2/hour") as service:
        token = bearer(create_token(sqlite, "m", ["metrics"]))
        assert [ask(service, "/v1/status", **token).status_code for _ in range(3)] == [403, 403, 429]


def test_guessing_is_limited_by_address_and_locks_nobody_out(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "FAILURES", "3/hour")
    with serving(sqlite) as service:
        statuses = [ask(service, "/v1/datasets", **bearer(f"cur_{i}")).status_code for i in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        assert service.client.get("/v1/datasets").status_code == 200


def test_a_rate_that_is_none_is_refused_at_the_start(sqlite: Engine) -> None:
    with pytest.raises(InputError, match="serve_rate"):
        create_app(sqlite, Settings(serve_rate="quickly"))


def test_every_answer_carries_the_security_headers(service: Running) -> None:
    for reply in (
        service.client.get("/healthz"),
        service.client.get("/v1/datasets"),
        service.client.get("/metrics"),
        service.client.get("/nothing"),
        ask(service, "/v1/datasets"),
    ):
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in reply.headers["Content-Security-Policy"]
        assert "Server" not in reply.headers


def test_headers_beyond_reason_are_refused(sqlite: Engine) -> None:
    with serving(sqlite) as service, socket.create_connection(("127.0.0.1", service.port)) as raw:
        raw.sendall(b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 20_000)
        assert raw.recv(100).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))


def test_every_error_says_what_is_wrong_and_what_to_do(service: Running) -> None:
    service.post(rows(1))
    for address, status in {
        "/nothing": 404,
        "/v1/datasets/e/queue": 404,
        "/v1/samples/abcdef": 404,
        "/v1/samples/xyz": 422,
        "/v1/samples/abcdef?dataset=e": 404,
        "/v1/datasets?scorer=abcdef": 404,
        "/v1/datasets?scorer=x": 422,
        "/v1/datasets/d/queue?limit=0": 422,
        "/v1/datasets/d/queue?after=SECRET": 422,
        "/v1/datasets/d/queue?tier=SECRET": 422,
        "/v1/datasets/d/samples": 405,
    }.items():
        reply = service.client.get(address)
        assert reply.status_code == status, address
        assert reply.json().keys() == {"error", "next"}
        assert all(reply.json().values())
        assert "SECRET" not in reply.text


def test_the_unexpected_is_answered_without_detail(
    service: Running, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ValueError("SECRET sample text")

    monkeypatch.setattr("curation.service.reads.list_datasets", fail)
    reply = service.client.get("/v1/datasets")
    assert reply.status_code == 500
    assert reply.json()["error"] == "the service failed"
    assert "nosniff" in reply.headers["X-Content-Type-Options"]
    assert "unexpected ValueError at" in caplog.text
    assert "test_access.py:" in caplog.text
    assert "SECRET" not in caplog.text + reply.text


def test_logs_hold_routes_and_numbers_and_nothing_that_was_sent(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "SECRET"
    service.post([row(secret), b'{"SECRET', {"messages": [{"role": secret, "content": secret}]}])
    service.post([{secret: secret}], dataset=secret, source=secret)
    service.client.post(f"/v1/datasets/{secret}/samples", content=secret, headers=JSON)
    service.client.post(f"/v1/datasets/{secret}/samples", content=ndjson([row(secret)]))
    service.client.get(f"/v1/datasets/{secret}/queue?after={secret}")
    service.client.get(f"/{secret}?{secret}")
    ask(service, "/v1/datasets", **bearer(f"cur_{secret}"))
    httpx.request(secret, service.url + "/v1/datasets", timeout=PATIENCE)
    # httpx is the client of these tests; pytest listens to uvicorn's log of addresses, which is switched off.
    others = "httpx", "httpcore", "uvicorn.access"
    lines = [r.getMessage() for r in caplog.records if not r.name.startswith(others)]
    said = "\n".join(lines)
    assert "POST /v1/datasets/{name}/samples 200 " in said
    assert "GET (none) 404 " in said
    assert secret not in said
    assert service.token not in said
    assert "cur_" not in said
