"""Label Studio's own pages in a real browser: the riskiest on top, hostile samples shown and harmless."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page
from sqlalchemy import Engine

from curation.reconcile.reasons import riskiest_waiting, show_reasons, token_heat
from tests.label_studio.rig import LabelStudioRig
from tests.label_studio.server import EMAIL, PASSWORD, LabelStudio
from tests.platforms.rig import Ledger
from tests.report.hostile import PAYLOADS

pytestmark = pytest.mark.slow


@pytest.fixture
def rig(label_studio: LabelStudio) -> LabelStudioRig:
    return LabelStudioRig(label_studio)


@pytest.fixture
def page(browser: Browser, label_studio: LabelStudio) -> Iterator[Page]:
    """A page of the owner, logged in."""
    opened = browser.new_page(viewport={"width": 1500, "height": 950})
    opened.set_default_timeout(120_000)  # its scripts are large, and the machine may be busy
    opened.goto(f"{label_studio.url}/user/login/")
    opened.fill("input[name=email]", EMAIL)
    opened.fill("input[name=password]", PASSWORD)
    opened.click("button[type=submit], [aria-label='Log In']")
    opened.wait_for_url(lambda url: "login" not in url)
    yield opened
    opened.close()


def keep(page: Page, name: str) -> None:
    """A screenshot for people, where CURATION_TEST_SCREENSHOTS names a folder."""
    if folder := os.environ.get("CURATION_TEST_SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png")


@pytest.mark.parametrize("kind", ["chat", "pair"])
def test_the_riskiest_is_served_and_rejected_with_a_reason(
    rig: LabelStudioRig, sqlite: Engine, page: Page, kind: str
) -> None:
    book = Ledger(sqlite)
    book.ingest([f"question {i}" for i in range(8)])
    book.score({f"question {i}": float(i % 7) - 0.01 * i for i in range(8)})
    rig.connect(book.engine, kind=kind)
    book.sync(rig)
    page.goto(f"{rig.url}/projects/{rig.project}/data")
    page.get_by_text("Riskiest first").first.click()
    page.wait_for_selector("text=question 6")
    keep(page, f"data-manager-{kind}")
    page.goto(f"{rig.url}/projects/{rig.project}/data?labeling=1")
    page.wait_for_selector("text=answer to question 6")
    assert page.get_by_text("answer to question 6").first.is_visible()
    keep(page, f"labeling-{kind}")
    page.keyboard.press("r")  # Reject
    page.wait_for_selector("text=Unsafe")
    page.get_by_text("Submit", exact=True).click()
    page.wait_for_selector("text=Say why it is rejected")
    page.keyboard.press("Escape")
    page.get_by_text("Unsafe").first.click()
    page.get_by_text("Submit", exact=True).click()
    page.wait_for_selector("text=answer to question 5")
    assert book.sync(rig).pulled.decisions == 1


@pytest.mark.parametrize("kind", ["chat", "pair"])
def test_hostile_samples_are_shown_as_they_are_and_run_nothing(
    rig: LabelStudioRig, sqlite: Engine, page: Page, kind: str
) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    answers = [f"{text} end" for text in PAYLOADS[:19]]
    _fill(Ledger(sqlite), rig, kind, answers)
    page.goto(f"{rig.url}/projects/{rig.project}/data?labeling=1")
    for i, answer in enumerate(answers):
        page.wait_for_selector(f"text=which {kind} {i} please")
        page.wait_for_timeout(200)
        assert " ".join(answer.split()) in " ".join(page.inner_text("body").split()), i
        page.keyboard.press("a")
        page.get_by_text("Submit", exact=True).click()
    keep(page, f"hostile-{kind}")
    assert dialogs == []


@pytest.mark.parametrize("kind", ["chat", "pair"])
def test_lines_are_shown_as_lines(rig: LabelStudioRig, sqlite: Engine, page: Page, kind: str) -> None:
    _fill(Ledger(sqlite), rig, kind, ["Step one\nStep two"])
    page.goto(f"{rig.url}/projects/{rig.project}/data?labeling=1")
    page.wait_for_selector("text=Step one")
    assert "Step one\nStep two" in page.inner_text("body")


def _fill(book: Ledger, rig: LabelStudioRig, kind: str, answers: list[str], *, heat: bool = False) -> None:
    from curation.ledger.samples import add_samples
    from tests.platforms.rig import DATASET, pair

    questions = [f"which {kind} {i} please" for i in range(len(answers))]
    add_samples(
        book.engine, DATASET, [pair(q, a, i) for i, (q, a) in enumerate(zip(questions, answers, strict=True))]
    )
    book.score({question: -float(i) for i, question in enumerate(questions)})
    rig.connect(book.engine, kind=kind, heat=heat)
    book.sync(rig)


def test_reasons_stay_closed_until_asked_for_and_leave_answers_alone(
    rig: LabelStudioRig, sqlite: Engine, page: Page
) -> None:
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    _fill(Ledger(sqlite), rig, "chat", ["first", "second"], heat=True)
    book = Ledger(sqlite)
    target = book.target()
    ((item, sample), *_) = riskiest_waiting(book.engine, target, target.scorer_id or 0, 1)
    assert sample.sample.answer == "first"
    pieces = ["<img src=x onerror=alert('heat')>", "Sure, ", "here is how </div><script>alert(1)</script>"]
    assert (
        show_reasons(book.engine, target, rig.settings, [(item, token_heat(pieces, [0.02, -0.01, 0.0]))]) == 1
    )
    page.goto(f"{rig.url}/projects/{rig.project}/data?labeling=1")
    page.wait_for_selector("text=which chat 0 please")
    panel = page.get_by_text("Where the risk comes from")
    assert not page.get_by_text("Sure, ").is_visible()
    panel.click()
    page.wait_for_selector("text=moves the model toward danger")
    assert "".join(pieces) in page.inner_text("body")
    keep(page, "heat")
    page.keyboard.press("a")
    page.get_by_text("Submit", exact=True).click()
    page.wait_for_selector("text=which chat 1 please")
    assert dialogs == []
    (task, _) = rig.server.tasks(rig.project)
    (given,) = task["annotations"]
    assert {region["from_name"] for region in given["result"]} == {"decision"}
    done = book.sync(rig)
    assert (done.pulled.decisions, done.pulled.edited) == (1, 0)
