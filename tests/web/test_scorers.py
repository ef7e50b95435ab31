"""Scorers, directions and their cards, as pages."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Browser

from tests.service.running import Running
from tests.web.markup import rows_of
from tests.web.records import OLD, SCORER, TRAP, N
from tests.web.rig import DESKTOP, PHONE, browsing, new_token
from tests.web.test_foundation import client


@pytest.fixture(scope="module")
def visitor(records: Running) -> Iterator[httpx.Client]:
    with client(records, new_token(records, "read")) as visitor:
        yield visitor


def test_scorers_are_listed_with_what_they_are_made_of_and_did(visitor: httpx.Client) -> None:
    rows = rows_of(visitor.get("/scorers").text)
    assert [row[0] for row in rows] == [f"scorer {one[:12]}" for one in (SCORER, OLD, TRAP)]
    assert [(row[2], row[6], row[7]) for row in rows[:2]] == [
        ("cosine", "in service", f"{N - 1} support"),
        ("dot", "not in service", "nothing"),
    ]
    assert "danger direction: danger" in rows[0][4]
    assert "safety state: none" in rows[0][4]


def test_a_scorer_shows_its_card_and_every_dataset(visitor: httpx.Client) -> None:
    page = visitor.get(f"/scorers/{SCORER[:8]}").text
    assert SCORER in page
    assert [row[1] for row in rows_of(page)] == ["danger", "safety", "not in this home", "none"]
    scored = rows_of(page.partition('id="scored"')[2])
    assert scored[0] == ["support", str(N), str(N - 1), "1", "0"]
    assert "38d84e98f748b2bb1ca137c09a1f3bd6" in page.partition('id="card"')[2]


def test_directions_of_the_home_and_of_the_package(visitor: httpx.Client) -> None:
    rows = {(row[0], row[2]): row for row in rows_of(visitor.get("/scorers/directions").text)}
    assert {name for name, origin in rows if origin == "curation"} == {
        "aligned",
        "benign-state",
        "danger",
        "safety",
    }
    assert rows["danger-v2", "home"][5] == "confirmed"
    assert rows["danger", "curation"][4:6] == ["danger 48 rows", "no"]
    assert rows["danger", "curation"][6].split()[1] == OLD[:8]
    card = visitor.get("/scorers/directions/card", params={"name": "danger", "shipped": "true"}).text
    for text in ("Fit settings", "learning_rate", "Anchors", "<polyline", "Derived from SmolLM2"):
        assert text in card
    assert "It has no card" in visitor.get("/scorers/directions/card?name=bare").text
    assert "lowers the margin" in visitor.get("/scorers/directions/card?name=danger-v2").text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/scorers/ffffff", 404),
        ("/scorers/x", 422),
        ("/scorers/directions/card", 422),
        ("/scorers/directions/card?name=none", 422),
        ("/scorers/directions/card?name=danger", 422),
        ("/scorers/directions/card?name=../directions/bare", 422),
    ],
)
def test_what_is_not_there_is_answered_by_a_page(visitor: httpx.Client, path: str, status: int) -> None:
    answer = visitor.get(path)
    assert answer.status_code == status
    assert "That did not work" in answer.text


def test_the_service_needs_neither_torch_nor_a_figure_to_start() -> None:
    code = (
        "import sys, curation.service.app; sys.exit(any(n in sys.modules for n in ('torch', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("width", [DESKTOP, PHONE])
def test_hostile_cards_do_nothing(browser: Browser, records: Running, width: int) -> None:
    with browsing(browser, records, "read", width=width) as seen:
        page = seen.go("/scorers/directions")
        trap = page.locator("a[data-row]", has_text="alert('folder')").get_attribute("href")
        assert trap
        for name, path in {
            "scorers": "/scorers",
            "scorer": f"/scorers/{SCORER}",
            "scorer-trap": f"/scorers/{TRAP}",
            "directions": "/scorers/directions",
            "direction": "/scorers/directions/card?name=danger&shipped=true",
            "direction-trap": trap,
        }.items():
            page = seen.go(path)
            assert page.locator("main :is(script, img, iframe, form form, [onerror], [style])").count() == 0
            seen.assert_fits()
            seen.keep(f"{name}-{width}")
        seen.assert_calm()
