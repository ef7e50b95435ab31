"""Samples sent to the service are in the ledger, once, whatever else is sent with them."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select

from curation.ledger import add_samples, open_ledger
from curation.ledger.tables import datasets, samples
from curation.samples import LAYOUTS, read_samples
from curation.service import body as body_module
from tests.ledger.builders import contents
from tests.service.running import JSON, LINES, Running, ndjson, row, rows, serving, wait_for

CHAT = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Hi."}]
IN_EACH_LAYOUT: dict[str, dict[str, Any]] = {
    "messages": {"messages": CHAT},
    "sharegpt": {"conversations": [{"from": "human", "value": "Hello"}, {"from": "gpt", "value": "Hi."}]},
    "alpaca": {"instruction": "Hello", "input": "", "output": "Hi."},
    "dolly": {"instruction": "Hello", "context": "", "response": "Hi."},
    "prompt-completion": {"prompt": "Hello", "completion": "Hi."},
    "prompt-response": {"prompt": "Hello", "response": "Hi."},
}


def n_samples(engine: Engine) -> int:
    with engine.connect() as conn:
        return conn.execute(select(func.count()).select_from(samples)).scalar_one()


def counts(reply: httpx.Response) -> tuple[int, int, int, int, int]:
    assert reply.status_code == 200, reply.text
    found = reply.json()
    return tuple(found[name] for name in ("rows", "new", "duplicates", "unchanged", "rejected"))  # type: ignore[return-value]


@pytest.mark.parametrize("form", ["lines", "list", "object"])
def test_rows_sent_are_the_samples_a_file_of_them_gives(service: Running, tmp_path: Path, form: str) -> None:
    sent = [row(str(i), source_id=i, note="é\u2028") for i in range(30)]
    address = "/v1/datasets/d/samples?source=train.jsonl"
    if form == "lines":
        reply = service.client.post(address, content=ndjson(sent), headers=LINES)
    else:
        reply = service.client.post(address, json=sent if form == "list" else {"samples": sent})
    assert counts(reply) == (30, 30, 0, 0, 0)

    (tmp_path / "train.jsonl").write_bytes(ndjson(sent))
    other = open_ledger(home=tmp_path / "other")
    reading = read_samples(tmp_path / "train.jsonl")
    reading.source = "train.jsonl"
    add_samples(other, "d", reading)
    assert contents(service.engine) == contents(other)


def test_every_layout_is_told_and_gives_the_same_sample(service: Running) -> None:
    assert set(IN_EACH_LAYOUT) == set(LAYOUTS)
    for name, sent in IN_EACH_LAYOUT.items():
        reply = service.post([sent])
        assert reply.json()["layout"] == name
        assert service.post([sent], layout=name).json()["rejected"] == 0
    assert n_samples(service.engine) == 1
    assert service.post([IN_EACH_LAYOUT["dolly"]], layout="alpaca").json()["rejected"] == 1


def test_train_all_is_another_sample(service: Running) -> None:
    sent = {"messages": [*CHAT, *CHAT]}
    service.post([sent])
    assert counts(service.post([sent], train="all")) == (1, 1, 0, 0, 0)


def test_sending_again_changes_nothing(service: Running) -> None:
    sent = [*rows(20), row("3")]
    assert counts(service.post(sent)) == (21, 20, 0, 1, 0)
    before = contents(service.engine)
    assert counts(service.post(sent)) == (21, 0, 0, 21, 0)
    assert counts(service.post(reversed(sent))) == (21, 0, 0, 21, 0)
    assert contents(service.engine) == before


def test_with_a_source_every_line_is_an_occurrence(service: Running) -> None:
    sent = [row("a"), row("b"), row("a")]
    assert counts(service.post(sent, source="x.jsonl")) == (3, 2, 1, 0, 0)
    assert counts(service.post(sent, source="x.jsonl")) == (3, 0, 0, 3, 0)
    assert counts(service.post(sent, source="y.jsonl")) == (3, 0, 3, 0, 0)
    lines = {(line[1], line[2]) for line in contents(service.engine)["lines"]}
    assert lines == {(file, n) for file in ("x.jsonl", "y.jsonl") for n in (1, 2, 3)}


def test_the_same_sent_by_many_at_once_counts_once(service: Running) -> None:
    def send(turn: int) -> int:
        sent = list(rows(500))
        return counts(service.post(sent if turn % 2 else reversed(sent)))[1]

    with ThreadPoolExecutor(6) as pool:
        new = list(pool.map(send, range(6)))
    assert sum(new) == n_samples(service.engine) == 500


DEEP = b'{"prompt": "a", "response": "b", "x": ' + b"[" * 3000 + b"]" * 3000 + b"}"
"""Deeper than the parser goes."""
HOSTILE: list[tuple[bytes, str]] = [
    (b'{"prompt": "a\\u0000b", "response": "c"}', "NUL"),
    (b'{"prompt": "a\x00b", "response": "c"}', "broken JSON"),
    (b'{"prompt": "\\ud800", "response": "c"}', "broken JSON"),
    (b'{"prompt": "\xff\xfe", "response": "c"}', "broken JSON"),
    (DEEP, "broken JSON"),
    (b'{"prompt": "a", "response": "b", "x": ' + b'{"y":' * 600 + b"1" + b"}" * 601, "nested too deeply"),
    (b'{"prompt": "a", "response": "b", "x": 1e999}', "broken JSON"),
    (b'{"prompt": "a", "response": "b", "x": NaN}', "broken JSON"),
    (b'{"prompt": "a", "response": {"b": 1}}', "not text"),
    (b'{"prompt": "a", "response": "  "}', "empty"),
    (b'{"prompt": null, "response": "b"}', "no 'prompt'"),
    (b'{"text": "x"}', "no 'prompt'"),
    (b"[]", "not a JSON object"),
    (b'"text"', "not a JSON object"),
    (b"{", "broken JSON"),
    (b'{"prompt": "' + b"x" * 1_000_001 + b'", "response": "b"}', "over the cap"),
]


@pytest.mark.parametrize("named", [True, False], ids=["layout named", "layout told"])
def test_bad_rows_stop_nobody(service: Running, named: bool) -> None:
    sent: list[Any] = [row("first")]
    for bad, _ in HOSTILE:
        sent += [bad, row(str(len(sent)))]
    # Twice the same key: the last counts, as everywhere in JSON. A number beyond 64 bits is kept as a float.
    sent += [b'{"prompt": "no", "prompt": "twice", "response": "b", "n": 123456789012345678901234567890}']
    reply = service.post(sent, **({"layout": "prompt-response"} if named else {}))
    good = len(HOSTILE) + 2
    assert counts(reply) == (len(sent), good, 0, 0, len(HOSTILE))
    rejects = reply.json()["rejects"]
    assert [r["line"] for r in rejects] == [2 * i + 2 for i in range(len(HOSTILE))]
    for reject, (_, reason) in zip(rejects, HOSTILE, strict=True):
        assert reason in reject["reason"]
    page = service.client.get("/v1/datasets/d/queue?limit=100").json()
    assert "question first" in {item["messages"][0]["content"] for item in page["items"]}
    assert len(page["items"]) == good


def test_what_the_parser_takes_can_be_read_again(service: Running) -> None:
    numbers = (
        b'{"prompt": "a", "response": "b", "x": [1e308, -0.0, 18446744073709551615, "\\u0000", {"": null}]}'
    )
    assert counts(service.post([numbers])) == (1, 1, 0, 0, 0)
    item = service.client.get("/v1/datasets/d/queue").json()["items"][0]
    found = service.client.get(f"/v1/samples/{item['id']}")
    assert found.json()["occurrences"][0]["metadata"]["x"] == [1e308, 0.0, 2**64 - 1, "\0", {"": None}]


def test_rejects_are_listed_up_to_a_hundred_and_counted_beyond(service: Running) -> None:
    reply = service.post([b"{"] * 250 + [row("a")])
    assert counts(reply) == (251, 1, 0, 0, 250)
    assert [r["line"] for r in reply.json()["rejects"]] == list(range(1, 101))


def test_a_body_without_any_good_row_is_answered_all_the_same(service: Running) -> None:
    reply = service.post([b"{", b"[]"])
    assert counts(reply) == (2, 0, 0, 0, 2)
    assert reply.json()["layout"] is None
    assert counts(service.post([])) == (0, 0, 0, 0, 0)
    assert service.rings == []


def test_rows_in_no_known_layout_make_no_dataset(service: Running) -> None:
    reply = service.post([{"text": "SECRET"}])
    assert reply.status_code == 422
    assert "no known layout" in reply.json()["error"]
    assert "SECRET" not in reply.text
    with service.engine.connect() as conn:
        assert conn.execute(select(func.count()).select_from(datasets)).scalar_one() == 0


@pytest.mark.parametrize(
    "body",
    [
        b"", b"null", b"7", b'"[]"', b"[", b"[1", b"[]]", b"[] x", b"{}", b'{"samples": 7}', b"{[}]",
        b'{"samples": [1}',
        b'{"samples": []', b'{"samples": [], "more": 1}', b'{"rows": []}', b"[" * 5000, b'{"samples": [}',
        b"\x00", b"\xff\xfe[]", b"{" * 100_000,
    ],
)  # fmt: skip
def test_json_that_is_no_list_is_refused_as_a_whole(service: Running, body: bytes) -> None:
    reply = service.client.post("/v1/datasets/d/samples", content=body, headers=JSON)
    assert reply.status_code == 400
    assert reply.json().keys() == {"error", "next"}
    assert n_samples(service.engine) == 0


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", b'{"samples": []}', b"\xef\xbb\xbf[]", b"[]\n"])
def test_an_empty_list_is_a_list(service: Running, body: bytes) -> None:
    reply = service.client.post("/v1/datasets/d/samples", content=body, headers=JSON)
    assert counts(reply) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "application/json, text/plain"},
        {**LINES, "Content-Encoding": "gzip"},
        {**JSON, "Content-Encoding": "br, gzip"},
    ],
)
def test_other_media_types_and_compressed_bodies_are_refused(
    service: Running, headers: dict[str, str]
) -> None:
    reply = service.client.post("/v1/datasets/d/samples", content=ndjson(rows(1)), headers=headers)
    assert reply.status_code == 415
    assert n_samples(service.engine) == 0


def test_media_types_are_read_as_http_means_them(service: Running) -> None:
    for kind in ("application/x-ndjson; charset=utf-8", "Application/X-NDJSON"):
        headers = {"Content-Type": kind, "Content-Encoding": "Identity"}
        reply = service.client.post("/v1/datasets/d/samples", content=ndjson(rows(1)), headers=headers)
        assert reply.status_code == 200


@pytest.mark.parametrize("name", ["%00", "a%0Ab", "%20", "a%E2%80%AEb", "x" * 201, "%F0%9F%98%80%00"])
def test_names_that_cannot_be_shown_are_refused(service: Running, name: str) -> None:
    reply = service.post(rows(1), dataset=name)
    assert reply.status_code == 422
    assert service.post(rows(1), source="a\u202eb").status_code == 422
    assert service.post(rows(1), layout="nonesuch").status_code == 422
    assert service.post(rows(1), train="none").status_code == 422


def test_a_body_that_says_it_is_too_large_is_refused_unread(sqlite: Engine) -> None:
    with serving(sqlite, serve_max_body=1000) as service:
        reply = service.post(rows(100))
        assert reply.status_code == 413
        assert "1,000 bytes" in reply.json()["error"]
        with socket.create_connection(("127.0.0.1", service.port)) as raw:
            raw.sendall(head(service, "Content-Length: 1001"))
            assert raw.recv(2**16).startswith(b"HTTP/1.1 413 ")
        assert n_samples(sqlite) == 0
        assert counts(service.post(rows(5)))[1] == 5


def test_a_body_that_grows_too_large_is_cut_and_what_came_before_stays(sqlite: Engine) -> None:
    sent = ndjson(rows(20_000))
    with serving(sqlite, serve_max_body=len(sent) - 1) as service:
        pieces = (sent[i : i + 10_000] for i in range(0, len(sent), 10_000))
        reply = service.client.post("/v1/datasets/d/samples", content=pieces, headers=LINES)
        assert reply.status_code == 413
        assert 0 < n_samples(sqlite) < 20_000
        assert len(service.rings) == 1


def test_a_json_body_has_a_cap_of_its_own(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("curation.service.ingest.JSON_CAP", 2000)
    with serving(sqlite) as service:
        assert service.client.post("/v1/datasets/d/samples", json=list(rows(100))).status_code == 413
        pieces = (json.dumps(list(rows(100))).encode() for _ in range(1))
        assert service.client.post("/v1/datasets/d/samples", content=pieces, headers=JSON).status_code == 413
        assert n_samples(sqlite) == 0
        assert service.post(rows(100)).status_code == 200


def test_a_sender_that_stops_is_told_so(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "IDLE_SECONDS", 0.2)
    with serving(sqlite) as service, socket.create_connection(("127.0.0.1", service.port)) as raw:
        raw.sendall(head(service, "Content-Length: 1000") + ndjson(rows(1)))
        assert raw.recv(2**16).startswith(b"HTTP/1.1 408 ")


def head(service: Running, length: str) -> bytes:
    return (
        "POST /v1/datasets/d/samples HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
        f"Authorization: Bearer {service.token}\r\n{length}\r\n\r\n"
    ).encode()


def test_a_broken_connection_keeps_what_was_committed_and_sending_again_completes_it(
    service: Running, tmp_path: Path
) -> None:
    sent = ndjson(rows(3500))
    with socket.create_connection(("127.0.0.1", service.port)) as raw:
        raw.sendall(head(service, f"Content-Length: {len(sent)}"))
        raw.sendall(sent[:-1])  # the last row is whole, and still not to be trusted
        wait_for(lambda: n_samples(service.engine) == 3000)
    wait_for(lambda: len(service.rings) == 1)
    assert n_samples(service.engine) == 3000

    reply = service.client.post("/v1/datasets/d/samples", content=sent, headers=LINES)
    assert counts(reply) == (3500, 500, 0, 3000, 0)
    other = open_ledger(home=tmp_path / "undisturbed")
    with serving(other) as undisturbed:
        undisturbed.client.post("/v1/datasets/d/samples", content=sent, headers=LINES)
    assert contents(service.engine) == contents(other)


def test_more_ingests_than_there_is_room_for_are_told_to_wait(
    sqlite: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curation.service.ingest.AT_ONCE", 1)
    with serving(sqlite) as service, socket.create_connection(("127.0.0.1", service.port)) as raw:
        raw.sendall(head(service, "Content-Length: 1000"))
        wait_for(lambda: service.app.state.service.ingests.borrowed_tokens == 1)
        reply = service.post(rows(1))
        assert reply.status_code == 503
        assert reply.headers["Retry-After"] == "1"
        raw.close()
        wait_for(lambda: service.app.state.service.ingests.borrowed_tokens == 0)
        assert service.post(rows(1)).status_code == 200


def test_every_ingest_rings_and_a_bell_that_fails_harms_nothing(
    sqlite: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(sqlite) as service:
        service.post(rows(3))
        assert len(service.rings) == 1

    def broken() -> None:
        raise ConnectionError("redis://:password@host")

    with serving(sqlite, broken) as service:
        assert counts(service.post([row("new")]))[1] == 1
    assert "the workers could not be rung: ConnectionError" in caplog.text
    assert "password" not in caplog.text
