"""The report in a real browser: hostile samples are shown exactly as they are and do nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from curation.report.data import ReportData
from curation.report.render import render, write_report
from curation.report.text import pieces, shorten
from tests.report.builders import conversation, demo_report, report_of
from tests.report.hostile import LONG, PAYLOADS, hostile_report

pytestmark = pytest.mark.slow

OUR_TAGS = """
    html head meta title style body nav main header section h1 h2 h3 p ul ol li dl div dt dd details summary
    a b bdi code span mark table thead tbody tr th td figure figcaption
    svg desc defs clippath g path rect use text
"""


@dataclass
class Seen:
    """What a page did while it was open, apart from being shown."""

    page: Page
    dialogs: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Browser, path: Path, width: int = 1400, **options: str) -> Iterator[Seen]:
    """The page with every fold open; all it says and asks for is recorded."""
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)
    seen = Seen(page)
    page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.console.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.on("requestfailed", lambda request: seen.refused.append(f"{request.url} {request.failure}"))
    try:
        page.goto(path.as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
        yield seen
    finally:
        page.close()


@pytest.fixture(scope="module")
def hostile() -> ReportData:
    return hostile_report()


@pytest.fixture(scope="module")
def hostile_page(hostile: ReportData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "hostile.html"
    write_report(hostile, path)
    return path


def as_shown(text: str) -> str:
    return "".join(piece.text for piece in pieces(text))


def test_hostile_samples_do_nothing(browser: Browser, hostile_page: Path) -> None:
    with opened(browser, hostile_page) as seen:
        for summary in seen.page.locator("summary").all()[:5]:
            summary.hover()
            summary.click()
        seen.page.wait_for_timeout(200)
    assert seen.dialogs == []
    assert seen.console == []
    assert seen.requests == [hostile_page.as_uri()]


def test_hostile_samples_add_no_element_and_no_handler(browser: Browser, hostile_page: Path) -> None:
    with opened(browser, hostile_page) as seen:
        tags = seen.page.evaluate(
            "[...new Set([...document.querySelectorAll('*')].map(e => e.localName.toLowerCase()))]"
        )
        attributes = seen.page.evaluate(
            "[...new Set([...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames()))]"
        )
        links = seen.page.evaluate(
            "[...document.querySelectorAll('[href]')].map(e => e.getAttribute('href'))"
        )
        styles, ids = seen.page.evaluate(
            "[document.querySelectorAll('style').length,"
            " [...document.querySelectorAll('[id]')].map(e => e.id)]"
        )
    assert set(tags) <= set(OUR_TAGS.split())
    assert not [
        name for name in attributes if name.startswith("on") or name in ("src", "style", "srcdoc", "action")
    ]
    assert links
    assert all(link.startswith("#") for link in links)
    assert styles == 1
    assert len(ids) == len(set(ids))


def test_hostile_text_is_shown_exactly(browser: Browser, hostile: ReportData, hostile_page: Path) -> None:
    with opened(browser, hostile_page) as seen:
        for row in hostile.rows:
            shown = seen.page.locator(f"#rank-{row.rank} .turn .text").all_text_contents()
            assert shown == [as_shown(turn.text) for turn in shorten(row.turns).turns]
            if row.heat:
                heat = seen.page.locator(f"#rank-{row.rank} .heat .text").all_text_contents()
                assert heat == [as_shown("".join(token.text for token in row.heat))]
        quarantined = seen.page.locator(".row.quarantined").first.locator(".turn .text").all_text_contents()
    assert quarantined == [as_shown(PAYLOADS[0])] * 2


def test_no_invisible_or_reordering_character_reaches_the_page(browser: Browser, hostile_page: Path) -> None:
    with opened(browser, hostile_page) as seen:
        text = seen.page.evaluate("document.documentElement.textContent")
        boxes = seen.page.locator("span.ctl", has_text="U+202E").count()
    assert [f"{ord(c):04X}" for c in set(text) if as_shown(c) != c] == []
    assert boxes > 0


@pytest.mark.parametrize("width", [360, 1400])
def test_page_is_never_wider_than_the_window(browser: Browser, hostile_page: Path, width: int) -> None:
    with opened(browser, hostile_page, width) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 768, 1400, 2500])
def test_realistic_report_fits_every_window(browser: Browser, tmp_path: Path, width: int) -> None:
    write_report(demo_report(), tmp_path / "report.html")
    with opened(browser, tmp_path / "report.html", width) as seen:
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.page.locator("figure svg").count() == 5
        assert all(svg.bounding_box()["height"] > 100 for svg in seen.page.locator("figure svg").all())
    assert seen.console == []


def test_a_megabyte_of_text_is_cut_with_a_count(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "long.html"
    write_report(report_of([conversation(LONG, LONG), conversation("a", LONG)]), path)
    assert path.stat().st_size < 200_000
    with opened(browser, path, 360) as seen:
        note = seen.page.locator("#rank-1 .cut, #rank-2 .cut").all_text_contents()
    assert f"{len(LONG) - 2_000:,} more characters are not shown." in note
    assert f"{len(LONG) - 3_999:,} more characters are not shown." in note


def test_policy_stops_a_script_even_if_escaping_failed(browser: Browser, tmp_path: Path) -> None:
    page = render(report_of([conversation("hello", "hi")]))
    breach = "<script>alert(1)</script><img src=https://example.org/x onerror=alert(2)><p style='color:red'>"
    (tmp_path / "breach.html").write_text(page.replace("<main>", "<main>" + breach), encoding="utf-8")
    with opened(browser, tmp_path / "breach.html") as seen:
        seen.page.wait_for_timeout(200)
    assert seen.dialogs == []
    assert len([line for line in seen.console if "Content Security Policy" in line]) >= 3
    assert seen.refused == ["https://example.org/x csp"]


def test_rows_open_from_the_keyboard(browser: Browser, tmp_path: Path) -> None:
    write_report(report_of([conversation("hello", "hi")]), tmp_path / "report.html")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.localName") == "summary":
            break
    page.keyboard.press("Enter")
    assert page.locator("#rank-1").get_attribute("open") is not None
    assert page.locator("#rank-1 .text").first.is_visible()
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_figures_follow_the_colour_scheme(browser: Browser, tmp_path: Path, scheme: str) -> None:
    write_report(demo_report(), tmp_path / "report.html")
    with opened(browser, tmp_path / "report.html", color_scheme=scheme) as seen:
        ink, paper = seen.page.evaluate(
            "[getComputedStyle(document.querySelector('figure svg text')).fill,"
            " getComputedStyle(document.body).backgroundColor]"
        )

    def brightness(rgb: str) -> int:
        return sum(int(part) for part in rgb.removeprefix("rgb(").removesuffix(")").split(","))

    assert (brightness(ink) > brightness(paper)) == (scheme == "dark")
