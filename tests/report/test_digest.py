"""The digest: what it counts is what happened in the period, and its page is as harmless as the report."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Browser
from sqlalchemy import Engine

from curation.ledger import add_samples, reading, writing
from curation.ledger.decisions import NewDecision, record_decisions
from curation.ledger.exports import NewExport, record_export
from curation.ledger.hooks import add_hook, failed
from curation.ledger.samples import ensure_dataset, list_datasets
from curation.ledger.tables import decisions, samples, scores
from curation.ledger.targets import add_target, set_trouble
from curation.report.digest import Digest, collect_digest, digest_json, render_digest, write_digest
from curation.samples.sample import Message, Sample, Source
from curation.triage import TierPolicy
from tests.ledger.builders import new_scorer, quarantine_sample, sample, score_row, write_scores
from tests.report.hostile import PAYLOADS
from tests.report.test_browser import opened

DAY = timedelta(hours=24)


def digest(engine: Engine, length: timedelta = DAY) -> Digest:
    with reading(engine) as conn:
        return collect_digest(conn, length, list_datasets(conn), TierPolicy())


def put(
    engine: Engine, name: str, rows: list[Sample], scorer_id: int, risks: list[float]
) -> tuple[int, list[int]]:
    """Samples with risks for the first of them; returns the dataset and its samples."""
    add_samples(engine, name, rows)
    dataset_id = ensure_dataset(engine, name)
    with reading(engine) as conn:
        query = sa.select(samples.c.id).where(samples.c.dataset_id == dataset_id).order_by(samples.c.id)
        pks = list(conn.execute(query).scalars())
    scored = [score_row(pk, dataset_id, risk) for pk, risk in zip(pks, risks, strict=False)]
    write_scores(engine, scorer_id, scored)
    return dataset_id, pks


def backdate(engine: Engine, table: sa.Table, column: str, *where: sa.ColumnElement[bool]) -> None:
    with writing(engine) as conn:
        conn.execute(table.update().where(*where).values({column: datetime.now(UTC) - timedelta(days=2)}))


def busy_ledger(engine: Engine) -> list[Sample]:
    """50 samples of which the 25 first are two days old, some decided on; returns them."""
    scorer_id = new_scorer(engine)
    rows = [sample(f"{i}", i + 1) for i in range(50)]
    dataset_id, pks = put(engine, "support", rows, scorer_id, [float(i) for i in range(48)])
    quarantine_sample(engine, scorer_id, pks[48], "too long")
    backdate(engine, samples, "first_seen", samples.c.id.in_(pks[:25]))
    backdate(engine, scores, "scored_at", scores.c.sample_id.in_(pks[:25]))

    def say(i: int, verdict: str, who: str) -> NewDecision:
        return NewDecision(rows[i].id, verdict, who, "test")  # type: ignore[arg-type]

    record_decisions(engine, dataset_id, [say(0, "reject", "ann")])
    backdate(engine, decisions, "recorded_at")
    both = [say(i, "approve" if i % 2 else "reject", who) for i in range(30, 36) for who in ("ann", "bob")]
    record_decisions(engine, dataset_id, [*both, say(40, "approve", "ann"), say(40, "reject", "bob")])
    record_export(
        engine,
        NewExport(
            dataset_id, scorer_id, "0" * 64, "{}", "jsonl", {"out": {"approved": 3}, "samples": 3}, "1" * 64, "{}",
            "eve", datetime.now(UTC), pks[30:33],
        ),
    )  # fmt: skip
    return rows


def test_it_counts_what_happened_in_the_period_and_what_is_left_now(ledger: Engine) -> None:
    rows = busy_ledger(ledger)
    (one,) = digest(ledger).datasets
    did = one.happened
    assert (did.ingested, did.scored, did.quarantined) == (25, 23, 1)
    assert (did.approved, did.rejected, did.withdrawn, did.reviewers) == (7, 7, 0, 2)
    assert (one.samples, one.unscored, one.quarantined, one.conflicts) == (50, 1, 1, 1)
    assert [row.content_hash for row in one.critical] == [rows[47].id]
    assert (one.n_critical, one.critical[0].percentile, one.critical[0].risk) == (1, 100.0, 47.0)
    assert one.agreed.n == 7
    whole = digest(ledger, timedelta(days=3))
    assert whole.datasets[0].happened.ingested == 50
    assert whole.datasets[0].happened.rejected == 8
    assert [(e.dataset, e.rows, e.by) for e in whole.exports] == [("support", 3, "eve")]


def test_what_became_critical_before_the_period_is_not_new(ledger: Engine) -> None:
    busy_ledger(ledger)
    backdate(ledger, scores, "scored_at")
    (one,) = digest(ledger).datasets
    assert (one.n_critical, list(one.critical), one.happened.scored) == (0, [], 0)


def test_a_ledger_in_which_nothing_happened(ledger: Engine, tmp_path: Path) -> None:
    ensure_dataset(ledger, "empty")
    made = digest(ledger)
    assert [one.quiet for one in made.datasets] == [True]
    assert "Nothing happened in 1 of 1 datasets" in render_digest(made)


def test_what_is_sent_holds_no_text(ledger: Engine) -> None:
    busy_ledger(ledger)
    made = digest(ledger)
    assert "question" not in json.dumps(digest_json(made, text=False))
    assert digest_json(made, text=True)["datasets"][0]["critical"][0]["prompt"] == "question 47"


@pytest.mark.slow
def test_the_page_shows_hostile_text_and_does_nothing(
    sqlite: Engine, tmp_path: Path, browser: Browser
) -> None:
    rows = [
        Sample((Message("user", text), Message("assistant", "a")), source=Source("f", i + 1))
        for i, text in enumerate(
            dict.fromkeys([*PAYLOADS, *(f"How do I tie knot number {i}?" for i in range(1200))])
        )
    ]
    name = '<img src=x onerror="alert(1)"> support'
    dataset_id, pks = put(sqlite, name, rows, new_scorer(sqlite), [-float(i) for i in range(len(rows) - 40)])
    quarantine_sample(sqlite, 1, pks[-1], "<script>alert(2)</script>")
    add_target(sqlite, "review", "argilla", dataset_id, "http://localhost", "p", {})
    set_trouble(sqlite, 1, "<b>no</b>")
    hook, _ = add_hook(sqlite, "https://alerts.example/curation?key=hidden", None, "critical")
    failed(sqlite, hook, 3, "the receiver answered 503")
    busy_ledger(sqlite)
    made = digest(sqlite)
    file = tmp_path / "digest.html"
    write_digest(made, file)
    for width, scheme in ((1400, "light"), (420, "dark")):
        with opened(browser, file, width, color_scheme=scheme) as seen:
            assert (seen.dialogs, seen.console) == ([], [])
            assert seen.requests == [file.as_uri()]
            assert seen.page.locator("script, img, iframe, form").count() == 0
            assert seen.page.locator("#critical tbody tr").count() == 20 + 1
            assert "new critical samples" in seen.page.locator("header").inner_text()
            assert "key=hidden" not in seen.page.content()
            wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not seen.page.evaluate(wide)
            if folder := os.environ.get("CURATION_TEST_SCREENSHOTS"):
                seen.page.screenshot(path=f"{folder}/digest-{scheme}.png", full_page=True)
