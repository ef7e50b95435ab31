"""A browser that is logged in to the pages, and notes whatever they do besides being shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page

from curation.ledger.tokens import Scope, create_token
from tests.service.running import Running

DESKTOP, PHONE = 1280, 360
_CSP = "Content Security Policy"


@dataclass
class Seen:
    """A page, and what it did: dialogs, errors, breaches of its policy, requests to elsewhere."""

    page: Page
    site: Running
    dialogs: list[str] = field(default_factory=list[str])
    console: list[str] = field(default_factory=list[str])
    elsewhere: list[str] = field(default_factory=list[str])

    def go(self, path: str) -> Page:
        """The page at an address of the service."""
        self.page.goto(self.site.url + path)
        return self.page

    def assert_calm(self) -> None:
        """It ran nothing, broke no policy and asked nobody else."""
        assert self.dialogs == [], self.dialogs
        assert [line for line in self.console if _CSP in line] == []
        assert self.console == [], self.console
        assert self.elsewhere == [], self.elsewhere

    def assert_fits(self) -> None:
        """It is no wider than its window."""
        width = self.page.viewport_size["width"]  # type: ignore[index]
        wide = self.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, f"{self.page.url}: {wide} in {width}"

    def keep(self, name: str) -> None:
        """A screenshot, if CURATION_TEST_SCREENSHOTS names a folder for them."""
        if folder := os.environ.get("CURATION_TEST_SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def log_in(page: Page, site: Running, token: str) -> None:
    page.goto(f"{site.url}/login")
    page.fill("#token", token)
    page.click("button.primary")
    page.wait_for_url(re.compile(rf"^{re.escape(site.url)}/(?!login)"))


@contextmanager
def browsing(
    browser: Browser, site: Running, *scopes: Scope, width: int = DESKTOP, scheme: str = "light"
) -> Iterator[Seen]:
    """Logged in with a new token of these scopes (default: review)."""
    context: BrowserContext = browser.new_context(
        viewport={"width": width, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
    )
    page = context.new_page()
    seen = Seen(page, site)
    page.on("dialog", lambda dialog: (seen.dialogs.append(dialog.message), dialog.dismiss()))
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.console.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith(site.url) else seen.elsewhere.append(r.url))
    try:
        log_in(page, site, new_token(site, *scopes))
        yield seen
    finally:
        context.close()


def new_token(site: Running, *scopes: Scope) -> str:
    """A token of these scopes (default: review), named tester 1, tester 2, ..."""
    site.tokens += 1
    return create_token(site.engine, f"tester {site.tokens}", scopes or ("review",))
