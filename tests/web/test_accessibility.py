"""axe finds nothing to mend on any page: labels, contrast, headings, landmarks, names of links."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.service.running import Running
from tests.web.ledgers import HOSTILE, SUPPORT
from tests.web.records import DATASET, SCORER, TRAP, TRAPS
from tests.web.rig import DESKTOP, PHONE, browsing

pytestmark = pytest.mark.slow

REVIEW = ("/", f"/queue?dataset={SUPPORT}", f"/queue?dataset={SUPPORT}&q=nothing+is+like+this")
RECORDS = (
    "/decisions", f"/decisions?dataset={DATASET}&reviewer=nobody", f"/decisions/conflicts?dataset={DATASET}",
    f"/decisions/agreement?dataset={DATASET}", "/exports", "/exports/1", "/exports/2", "/exports/99",
    "/exports/policies", f"/exports/policies/{'e' * 64}", "/scorers", f"/scorers/{SCORER}", f"/scorers/{TRAP}",
    "/scorers/directions", "/scorers/directions/card?name=danger&shipped=true",
    "/scorers/directions/card?name=bare",
)  # fmt: skip


def wrong(page: Page) -> list[str]:
    """What axe finds, by page, rule and place."""
    violations = Axe().run(page).response["violations"]
    return [f"{page.url} {v['id']}: {node['target']}" for v in violations for node in v["nodes"]]


@pytest.mark.parametrize(("scheme", "width"), [("light", DESKTOP), ("dark", PHONE)])
def test_nothing_to_mend_where_one_reviews(browser: Browser, site: Running, scheme: str, width: int) -> None:
    with browsing(browser, site, width=width, scheme=scheme) as seen:
        found = [one for path in REVIEW for one in wrong(seen.go(path))]
        for dataset in (SUPPORT, HOSTILE):
            page = seen.go("/queue?dataset=" + seen.page.evaluate("encodeURIComponent", dataset))
            page.locator("[data-row]").nth(9).click()
            page.wait_for_url("**/samples/*")
            found += wrong(page)
        page.keyboard.press("?")
        assert page.locator("dialog").is_visible()
        found += wrong(page)
        seen.page.context.clear_cookies()
        found += wrong(seen.go("/login"))
    assert not found, "\n".join(found)


@pytest.mark.parametrize(("scheme", "width"), [("light", DESKTOP), ("dark", PHONE)])
def test_nothing_to_mend_where_one_looks_back(
    browser: Browser, records: Running, scheme: str, width: int
) -> None:
    with browsing(browser, records, "read", width=width, scheme=scheme) as seen:
        found = [one for path in RECORDS for one in wrong(seen.go(path))]
        found += wrong(seen.go("/decisions?dataset=" + seen.page.evaluate("encodeURIComponent", TRAPS)))
    assert not found, "\n".join(found)
