"""The queue's page: order, filters, search, paging, and the way to a sample."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest
from playwright.sync_api import Browser

from curation.ledger import narrowing
from tests.service.running import Running
from tests.web.ledgers import HOSTILE, SUPPORT
from tests.web.rig import DESKTOP, PHONE, browsing, new_token
from tests.web.test_foundation import client

ROW = re.compile(r'href="/samples/([0-9a-f]{64})')
FURTHER = re.compile(r'href="(/queue\?after=[^"]+)"')


def ids(site: Running, **query: str) -> list[str]:
    """All samples of a narrowed queue, page after page."""
    found: list[str] = []
    address = f"/queue?{urlencode({'dataset': SUPPORT, **query})}"
    with client(site, new_token(site)) as visitor:
        while True:
            page = visitor.get(address)
            assert page.status_code == 200, page.text
            found += ROW.findall(page.text)
            further = FURTHER.findall(page.text)
            if not further:
                return found
            address = further[0].replace("&amp;", "&")


def queue_of(site: Running, **query: str) -> list[dict[str, object]]:
    items: list[dict[str, object]] = []
    after = None
    while True:
        params = {"limit": "100", **query, **({"after": after} if after else {})}
        page = site.client.get(f"/v1/datasets/{SUPPORT}/queue", params=params).json()
        items += page["items"]
        after = page["next"]
        if after is None:
            return items


def test_it_has_the_order_that_programs_get(site: Running) -> None:
    assert ids(site) == [item["id"] for item in queue_of(site)]


def test_it_is_narrowed_by_tier_and_state(site: Running) -> None:
    whole = queue_of(site)
    for shown in ("critical", "low"):
        assert ids(site, show=shown) == [item["id"] for item in whole if item["tier"] == shown]
    for shown in ("quarantined", "unscored"):
        assert ids(site, show=shown) == [item["id"] for item in whole if item["state"] == shown]


def test_it_is_narrowed_by_review_and_target(site: Running) -> None:
    scored = [item["id"] for item in queue_of(site) if item["state"] == "scored"]
    assert ids(site, reviewed="decided") == scored[4:24]
    assert len(ids(site, reviewed="conflict")) == 1
    assert set(ids(site, reviewed="undecided")) | set(scored[4:24]) == set(ids(site))
    assert ids(site, target="Safety review") == scored[:30]
    assert ids(site, target="Safety review", reviewed="undecided") == scored[:4] + scored[24:30]


def test_text_is_found_and_an_id_leads_to_its_sample(site: Running) -> None:
    found = ids(site, q="PARALLEL PARK")
    assert found
    whole = {item["id"]: item for item in queue_of(site)}
    assert all("parallel park" in str(whole[id_]["messages"]).lower() for id_ in found)
    with client(site, new_token(site)) as visitor:
        led = visitor.get("/queue", params={"dataset": SUPPORT, "q": found[0][:10]})
        assert led.headers["location"].startswith(f"/samples/{found[0]}")


def test_a_rare_text_is_looked_for_page_by_page(site: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ids(site, q="parallel")
    monkeypatch.setattr(narrowing, "TEXT_WINDOW", 7)
    assert ids(site, q="parallel") == whole
    with client(site, new_token(site)) as visitor:
        page = visitor.get("/queue", params={"dataset": SUPPORT, "q": "no such text", "show": "low"})
        assert "among the next 7 samples" in page.text


@pytest.mark.parametrize(
    "query",
    [
        {"show": "dreadful"},
        {"reviewed": "x"},
        {"after": "bad"},
        {"q": "x" * 501},
        {"target": "none"},
        {"scorer": "zz"},
    ],
)
def test_what_cannot_be_shown_is_said(site: Running, query: dict[str, str]) -> None:
    with client(site, new_token(site)) as visitor:
        page = visitor.get("/queue", params={"dataset": SUPPORT, **query})
    assert page.status_code in (404, 422)
    assert "That did not work" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark")])
@pytest.mark.parametrize("dataset", [SUPPORT, HOSTILE, "new"])
def test_it_fits_and_is_calm(site: Running, browser: Browser, dataset: str, width: int, scheme: str) -> None:
    with browsing(browser, site, width=width, scheme=scheme) as seen:
        page = seen.go(f"/queue?{urlencode({'dataset': dataset})}")
        assert page.locator("[data-row]").count() > 0
        seen.assert_fits()
        seen.keep(f"queue-{dataset[:7]}-{width}-{scheme}")
        seen.assert_calm()


@pytest.mark.slow
def test_it_is_worked_with_the_keyboard(site: Running, browser: Browser) -> None:
    order = ids(site)
    with browsing(browser, site) as seen:
        page = seen.go(f"/queue?dataset={SUPPORT}")
        for key in "jjjk":
            page.keyboard.press(key)
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/samples/{order[1]}*")
        page.keyboard.press("q")
        page.wait_for_url("**/queue*")
        page.keyboard.press("/")
        page.keyboard.type("parallel")
        page.keyboard.press("Enter")
        page.wait_for_url("**q=parallel*")
        page.keyboard.press("?")
        assert page.get_by_role("dialog").is_visible()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.closest('dialog') !== null"), (
            "keys rest while help is open"
        )
        page.keyboard.press("Escape")
        page.goto(f"{site.url}/queue?dataset={SUPPORT}")
        page.keyboard.press("]")
        page.wait_for_url("**after=*")
        page.keyboard.press("[")
        page.wait_for_url(lambda url: "after" not in url)
        page.select_option("#show", "critical")
        page.wait_for_url("**show=critical*")
        assert set(page.locator(".entry:not(.cols) .chip.critical").all_inner_texts()) == {"critical"}
        seen.assert_calm()


@pytest.mark.slow
def test_it_works_without_the_script(site: Running, browser: Browser) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/login")
    page.fill("#token", new_token(site))
    page.click("button.primary")
    page.goto(f"{site.url}/queue?dataset={SUPPORT}")
    page.select_option("#show", "high")
    page.click("text=Search")
    page.locator("[data-row]").first.click()
    page.click("button.approve")
    assert "Approved" in page.get_by_role("status").inner_text()
    page.click("text=Undo")
    context.close()
