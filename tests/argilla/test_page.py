"""Argilla's annotation page in a real browser: the riskiest first, and hostile text shown as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from curation.ledger.samples import add_samples
from curation.platforms.argilla.dataset import queue_url
from curation.reconcile.reasons import show_reasons, token_heat
from curation.samples.sample import Sample, Source
from tests.argilla.rig import ArgillaRig
from tests.platforms.rig import DATASET, Ledger, pair
from tests.report.hostile import PAYLOADS

pytestmark = pytest.mark.slow

HOSTILE = (
    *PAYLOADS,
    "</script><script>parent.document.title='taken over'</script>",
    "<img src=x onerror=\"document.querySelector('button').click()\">",
    "$& $$ $` $' $1 #RECORD_OBJECT# {{{raw}}}",
    "a<b end, 1 < 2 && 3 > 2",
    "  two  spaces\n\n\tand a tab",
)


@dataclass
class Seen:
    """What a page did while it was open, apart from being shown."""

    page: Page
    dialogs: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def bubbles(self) -> list[str]:
        """The messages shown, as text."""
        self.page.wait_for_selector(".chat__bubble")
        return self.page.locator(".chat__bubble > span").evaluate_all("all => all.map(e => e.textContent)")


@contextmanager
def annotating(browser: Browser, rig: ArgillaRig) -> Iterator[Seen]:
    """The page behind the printed address, opened by an annotator who has signed in."""
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.set_default_timeout(120_000)  # its scripts are large, and the machine may be busy
    seen = Seen(page)
    try:
        page.goto(f"{rig.url}/sign-in")
        page.fill("input[type=text], input[name=username]", rig.users[0].username)
        page.fill("input[type=password]", rig.users[0].password)
        page.keyboard.press("Enter")
        page.wait_for_url(lambda url: "sign-in" not in url)
        page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: seen.errors.append(str(error)))
        page.on("request", lambda request: seen.requests.append(request.url))
        page.goto(queue_url(rig.url, rig.dataset, ""))
        page.wait_for_selector(".chat__bubble")
        yield seen
    finally:
        page.close()


def conversation(texts: Sequence[str]) -> Sample:
    turns = [{"role": role, "content": text} for text in texts for role in ("user", "assistant")]
    return Sample.from_messages(turns, source=Source("hostile.jsonl", 1))


def test_hostile_text_is_shown_exactly_and_does_nothing(
    rig: ArgillaRig, book: Ledger, browser: Browser
) -> None:
    add_samples(book.engine, DATASET, [conversation(HOSTILE)])
    book.score({HOSTILE[-1]: 1.0})
    rig.connect(book.engine)
    assert book.sync(rig).created == 1
    with annotating(browser, rig) as seen:
        seen.page.wait_for_timeout(1000)
        shown = seen.bubbles()
        inside = seen.page.locator(".chat__bubble > span *").count()
        spaces = seen.page.locator(".chat__bubble > span").first.evaluate(
            "e => getComputedStyle(e).whiteSpace"
        )
        title = seen.page.title()
        for bubble in seen.page.locator(".chat__bubble").all()[:6]:
            bubble.hover()
            bubble.click()
    # a browser makes one line feed of every line end
    assert shown == [t.replace("\r\n", "\n").replace("\r", "\n") for t in HOSTILE for _ in range(2)]
    assert inside == 0
    assert spaces in ("pre-wrap", "pre-line", "break-spaces", "pre"), spaces
    assert "taken over" not in title
    assert seen.dialogs == []
    assert seen.errors == []
    foreign = [url for url in seen.requests if not url.startswith(rig.url)]
    assert all(url.startswith("https://fonts.googleapis.com/") for url in foreign)  # Argilla's own
    responses = rig.server.owner.get(f"/datasets/{rig.dataset}/records", params={"include": "responses"})
    assert [record["responses"] for record in responses.json()["items"]] == [[]]


def test_reasons_are_closed_until_asked_for_and_do_nothing(
    rig: ArgillaRig, book: Ledger, browser: Browser, tmp_path: Path
) -> None:
    question = "</script><script>parent.document.title='taken over'</script>"
    book.ingest([question])
    book.score({question: 1.0})
    rig.connect(book.engine, heat=True)
    book.sync(rig)
    pieces = [
        "<img src=x onerror=alert('heat')>",
        "Sure, ",
        "$& $$ {{7*7}} </details><script>alert(1)</script>",
    ]
    reasons = [(rig.records()[0]["id"], token_heat(pieces, [0.02, -0.01, 0.0]))]
    assert show_reasons(book.engine, book.target(), rig.settings, reasons) == 1
    with annotating(browser, rig) as seen:
        frame = seen.page.frame_locator("iframe").first
        frame.locator("details").wait_for()
        assert not frame.locator("details div").first.is_visible()
        frame.locator("summary").click()
        assert frame.locator("details div").first.is_visible()
        shown = frame.locator("details").inner_text()
        seen.page.wait_for_timeout(500)
        seen.page.screenshot(path=tmp_path / "heat.png")
        title = seen.page.title()
    assert "".join(pieces) in shown
    assert (seen.dialogs, seen.errors) == ([], [])
    assert "taken over" not in title
    done = book.sync(rig)
    assert (done.pulled.edited, done.pulled.decisions) == (0, 0)


def test_without_escaping_such_text_runs(rig: ArgillaRig, book: Ledger, browser: Browser) -> None:
    """Otherwise the test above would show nothing."""
    book.ingest(["q"])
    rig.connect(book.engine)
    rig.add([pair("<img src=x onerror=\"alert('ran')\">", "an answer", 1)])
    with annotating(browser, rig) as seen:
        while not seen.dialogs:  # or the test's own time runs out
            seen.page.wait_for_timeout(100)
        assert seen.dialogs == ["ran"]


def test_the_printed_address_opens_the_riskiest_and_goes_on_in_order(
    rig: ArgillaRig, book: Ledger, browser: Browser, tmp_path: Path
) -> None:
    given = {f"question {i}": (i * 7919 % 100) / 10 - 3 for i in range(20)}
    order = sorted(given, key=given.__getitem__, reverse=True)
    book.ingest(list(given))
    book.score(given)
    rig.connect(book.engine)
    book.sync(rig)
    with annotating(browser, rig) as seen:
        assert seen.bubbles()[0] == order[0]
        assert "risk" not in seen.page.inner_text("body").lower()  # the number would sway the annotator
        seen.page.screenshot(path=tmp_path / "queue.png")
        for clicks, following in zip(
            (["Discard"], ["Reject", "Submit"], ["Approve", "Submit"]), order[1:], strict=False
        ):
            for button in clicks:
                seen.page.get_by_text(button, exact=True).click()
            seen.page.wait_for_function(
                "next => document.querySelector('.chat__bubble > span')?.textContent === next", arg=following
            )
    assert book.sync(rig).pulled.decisions == 2
