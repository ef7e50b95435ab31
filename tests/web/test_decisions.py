"""Decisions, conflicts, agreement and the review budget, as pages."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine

from curation.ledger import find_dataset, find_scorer, reading
from curation.ledger.decisions import decided_samples
from curation.review.fold import disagree, last_words
from curation.review.outcomes import outcomes
from curation.review.precision import precision_at
from tests.service.running import Running, serving
from tests.web.markup import pages_of, rows_of
from tests.web.records import DATASET, SCORER, TRAPS
from tests.web.rig import DESKTOP, PHONE, browsing, new_token
from tests.web.test_foundation import client

PAGES = ("/decisions", "/decisions/conflicts", "/decisions/agreement")


@pytest.fixture(scope="module")
def visitor(records: Running) -> Iterator[httpx.Client]:
    with client(records, new_token(records, "read")) as visitor:
        yield visitor


def test_every_decision_is_on_one_page_the_latest_first(visitor: httpx.Client, records: Running) -> None:
    with reading(records.engine) as conn:
        made = [
            decision
            for name in (DATASET, TRAPS)
            for _, decisions in decided_samples(conn, find_dataset(conn, name).id)
            for decision in decisions
        ]
    rows = [row for page in pages_of(visitor, "/decisions") for row in rows_of(page)]
    shown = [(row[0], row[1].removeprefix("sample "), row[2].split()[0], row[3]) for row in rows]
    told = [
        (f"{one.decided_at:%Y-%m-%d %H:%M UTC}", one.content_hash[:8], one.verdict, one.reviewer)
        for one in made
    ]
    assert sorted(shown) == sorted(told)
    assert [row[0] for row in shown] == sorted((row[0] for row in told), reverse=True)


def test_filters_and_what_no_longer_stands(visitor: httpx.Client) -> None:
    by_bo = [row for page in pages_of(visitor, "/decisions?reviewer=bo") for row in rows_of(page)]
    assert {row[3] for row in by_bo} == {"bo"}
    assert by_bo[0][2] == "withdraw"
    assert [row[1] for row in by_bo if "no longer stands" in row[2]] == [by_bo[0][1]]
    rejected = rows_of(visitor.get("/decisions", params={"verdict": "reject", "dataset": DATASET}).text)
    assert {(row[2], row[4]) for row in rejected if row[3] == "ana"} == {("reject", "gives away the steps")}
    assert "No decision meets these filters" in visitor.get("/decisions?reviewer=nobody").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/decisions?dataset=none", 404),
        ("/decisions?after=x", 422),
        ("/decisions?verdict=maybe", 422),
        ("/decisions/conflicts?dataset=none", 404),
        ("/decisions/conflicts?after=-1", 422),
        ("/decisions/conflicts?decided_by=dice", 422),
        ("/decisions/agreement?dataset=none", 404),
        ("/decisions/agreement?scorer=ffffff", 404),
        ("/decisions/agreement?scorer=x", 422),
    ],
)
def test_what_is_asked_wrongly_is_answered_by_a_page(visitor: httpx.Client, path: str, status: int) -> None:
    answer = visitor.get(path)
    assert answer.status_code == status
    assert "That did not work" in answer.text


def test_conflicts_are_those_that_stand(visitor: httpx.Client, records: Running) -> None:
    with reading(records.engine) as conn:
        decided = decided_samples(conn, find_dataset(conn, DATASET).id)
        wanted = {made[0].content_hash[:8] for _, made in decided if disagree(last_words(made))}
    rows = rows_of(visitor.get("/decisions/conflicts", params={"dataset": DATASET}).text)
    assert {row[0].removeprefix("sample ") for row in rows} == wanted
    assert {(row[1], row[2], row[3]) for row in rows} == {("rejected", "bo", "ana gives away the steps")}
    majority = visitor.get("/decisions/conflicts", params={"dataset": DATASET, "decided_by": "majority"}).text
    assert {row[1] for row in rows_of(majority)} == {"undecided"}


def test_figures_are_those_of_the_ledger(visitor: httpx.Client, records: Running) -> None:
    page = visitor.get("/decisions/agreement", params={"dataset": DATASET}).text
    with reading(records.engine) as conn:
        dataset, scorer = find_dataset(conn, DATASET), find_scorer(conn, SCORER)
        found = outcomes(conn, dataset.id, scorer.id, "any-reject")
    precision = page.partition('id="precision"')[2]
    assert [row[:3] for row in rows_of(precision)] == [
        [str(one.k), str(one.decided), str(one.rejected)] for one in precision_at(found)
    ]
    assert "Krippendorff" in page
    assert re.search(r'<svg[^>]*aria-labelledby="budget-title budget-desc"', page)
    by_trap = visitor.get("/decisions/agreement", params={"dataset": DATASET, "scorer": "bad000"}).text
    assert "No decision on a scored sample yet" in by_trap


def test_an_empty_ledger_has_empty_pages(sqlite: Engine) -> None:
    with serving(sqlite) as site, client(site, new_token(site)) as visitor:
        for path in (*PAGES, "/exports", "/exports/policies", "/scorers", "/scorers/directions"):
            answer = visitor.get(path)
            assert answer.status_code == 200
            assert 'class="empty"' in answer.text or path == "/scorers/directions"


@pytest.mark.slow
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_hostile_reviewers_and_reasons_do_nothing(browser: Browser, records: Running, width: int) -> None:
    with browsing(browser, records, "read", width=width) as seen:
        for path in PAGES:
            page = seen.go(path if path == "/decisions" else f"{path}?dataset={DATASET}")
            seen.assert_fits()
            seen.keep(f"{path.strip('/').replace('/', '-')}-{width}")
            page = seen.go(f"{path}?dataset=" + page.evaluate("encodeURIComponent", TRAPS))
            assert "alert(" in page.locator("main").inner_text()
            assert page.locator("main :is(script, img, iframe, form form, [onerror], [style])").count() == 0
            seen.assert_fits()
        seen.assert_calm()


@pytest.mark.slow
def test_the_keyboard_walks_the_list_and_its_pages(browser: Browser, records: Running) -> None:
    with browsing(browser, records, "read") as seen:
        page = seen.go("/")
        page.keyboard.press("g")
        page.keyboard.press("d")
        page.wait_for_url("**/decisions*")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("?")
        assert "next, previous row" in page.locator("dialog").inner_text()
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.keyboard.press("k")
        focused = page.evaluate("document.activeElement.getAttribute('href')")
        assert focused == page.locator("[data-row]").nth(1).get_attribute("href")
        page.keyboard.press("]")
        page.wait_for_url("**after=*")
        page.select_option("#choose-reviewer", "bo")
        page.wait_for_url("**reviewer=bo*")
        assert set(page.locator("tbody td:nth-child(4)").all_inner_texts()) == {"bo"}
        seen.assert_calm()
