"""Exports with their seals, and policies, as pages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine, select

from curation.gate.manifest import MANIFEST, Manifest
from curation.ledger import reading
from curation.ledger.export_log import find_export, used_policies
from curation.ledger.tables import exported, samples
from tests.gate.builders import reviewed
from tests.service.running import Running, serving
from tests.web.markup import pages_of, rows_of
from tests.web.records import DATASET, SCORER, keep_records
from tests.web.rig import DESKTOP, PHONE, browsing, new_token
from tests.web.test_decisions import PAGES
from tests.web.test_foundation import client

UNSIGNED, SIGNED, TRAP = 1, 2, 3


@pytest.fixture(scope="module")
def visitor(records: Running) -> Iterator[httpx.Client]:
    with client(records, new_token(records, "read")) as visitor:
        yield visitor


def test_exports_are_listed_the_latest_first_with_their_counts(
    visitor: httpx.Client, records: Running
) -> None:
    with reading(records.engine) as conn:
        signed, unsigned = find_export(conn, SIGNED), find_export(conn, UNSIGNED)
    rows = rows_of(visitor.get("/exports", params={"dataset": DATASET}).text)
    assert [(row[0], row[2], row[9]) for row in rows] == [
        ("2", DATASET, "signed"),
        ("1", DATASET, "unsigned"),
    ]
    for row, export in zip(rows, (signed, unsigned), strict=True):
        assert row[3] == str(sum(export.counts["out"].values()))
        assert row[4] == ", ".join(f"{n} {reason}" for reason, n in export.counts["held"].items())
        assert row[5] == f"policy {export.policy_sha256[:8]}"
    assert int(rows[0][3]) > int(rows[1][3]) > 0


def test_the_manifest_is_given_out_as_it_was_sealed(visitor: httpx.Client, records: Running) -> None:
    page = visitor.get(f"/exports/{SIGNED}").text
    kept = visitor.get(f"/exports/{SIGNED}/manifest.json")
    digest = hashlib.sha256(kept.content).hexdigest()
    manifest = Manifest.model_validate_json(kept.content)
    assert manifest.to_bytes() == kept.content
    assert kept.headers["content-disposition"].startswith("attachment")
    for hash_ in (digest, manifest.content_sha256, manifest.signed_with, manifest.rows.sha256):
        assert hash_
        assert hash_ in page
    assert "--public-key" in page
    assert "--public-key" not in visitor.get(f"/exports/{UNSIGNED}").text


def test_a_folder_can_be_compared_with_what_the_page_says(sqlite: Engine, tmp_path: Path) -> None:
    made = reviewed(sqlite).export(tmp_path / "out")
    with serving(sqlite) as site, client(site, new_token(site)) as visitor:
        kept = visitor.get(f"/exports/{made.number}/manifest.json").content
        page = visitor.get(f"/exports/{made.number}").text
    assert kept == (tmp_path / "out" / MANIFEST).read_bytes()
    assert hashlib.sha256(kept).hexdigest() in page


def test_every_sample_of_an_export_is_on_one_page(visitor: httpx.Client, records: Running) -> None:
    inside = select(samples.c.content_hash).join(
        exported, samples.c.id.between(exported.c.first_pk, exported.c.last_pk)
    )
    with reading(records.engine) as conn:
        wanted = list(
            conn.execute(inside.where(exported.c.export_id == SIGNED).order_by(samples.c.id)).scalars()
        )
    shown: list[str] = []
    for page in pages_of(visitor, f"/exports/{SIGNED}"):
        shown += [row[0].removeprefix("sample ") for row in rows_of(page.partition('id="samples"')[2])]
    assert shown == [digest[:8] for digest in wanted]
    assert len(shown) > 50


def test_a_policy_says_what_changed_since_the_one_before(visitor: httpx.Client, records: Running) -> None:
    with reading(records.engine) as conn:
        found = [one for one in used_policies(conn) if DATASET in one.datasets]
    second, first = (visitor.get(f"/exports/policies/{one.sha256}").text for one in found)
    changed = re.findall(r"<(ins|del)>. (.*?)</\1>", second)
    assert ("del", "  &#34;decided_by&#34;: &#34;any-reject&#34;,") in changed
    assert ("ins", "  &#34;decided_by&#34;: &#34;majority&#34;,") in changed
    assert "low (the rest): leave without review unless rejected" in second
    assert "It is the first" in first
    listed = rows_of(visitor.get("/exports/policies").text)
    assert [row[0] for row in listed if DATASET in row[4]] == [f"policy {one.sha256[:8]}" for one in found]
    assert {row[5] for row in listed if DATASET in row[4]} == {SCORER[:12]}


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/exports/99", 404),
        ("/exports/0", 422),
        ("/exports/x", 422),
        ("/exports/99/manifest.json", 404),
        ("/exports?dataset=none", 404),
        ("/exports?after=x", 422),
        (f"/exports/policies/{'0' * 64}", 404),
        ("/exports/policies/x", 422),
    ],
)
def test_what_is_not_there_is_answered_by_a_page(visitor: httpx.Client, path: str, status: int) -> None:
    answer = visitor.get(path)
    assert answer.status_code == status
    assert "That did not work" in answer.text


@pytest.mark.slow
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_hostile_policies_and_seals_do_nothing(browser: Browser, records: Running, width: int) -> None:
    policy = "e" * 64
    paths = {
        "exports": "/exports",
        "export": f"/exports/{SIGNED}",
        "export-trap": f"/exports/{TRAP}",
        "policies": "/exports/policies",
        "policy-trap": f"/exports/policies/{policy}",
    }
    with browsing(browser, records, "read", width=width) as seen:
        for name, path in paths.items():
            page = seen.go(path)
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            assert page.locator("main :is(script, img, iframe, form form, [onerror], [style])").count() == 0
            assert ("<img" in page.locator("main").inner_text()) == (name != "export")
            seen.assert_fits()
            seen.keep(f"{name}-{width}")
        seen.assert_calm()


@pytest.mark.slow
def test_every_page_reads_from_postgres_too(postgres_ledger: Engine, tmp_path: Path) -> None:
    keep_records(postgres_ledger, tmp_path)
    with serving(postgres_ledger, home=tmp_path) as site, client(site, new_token(site)) as visitor:
        for path in (*PAGES, "/exports", "/exports/2", "/exports/policies", "/scorers", f"/scorers/{SCORER}"):
            answer = visitor.get(path, params={"dataset": DATASET} if path in PAGES else None)
            assert answer.status_code == 200
            assert len(rows_of(answer.text)) > 0
