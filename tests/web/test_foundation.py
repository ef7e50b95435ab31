"""Log-in, sessions, forms and headers."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine

from curation.ledger.tokens import create_token, revoke_token
from curation.settings import Settings
from curation.web.pages import safe_next
from curation.web.sessions import LocalUser, Sessions
from tests.service.running import PATIENCE, Running, serving
from tests.web.rig import DESKTOP, PHONE, browsing, log_in, new_token

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def client(site: Running, token: str | None = None) -> httpx.Client:
    """A program that behaves like a browser, logged in if it has a token."""
    cookies = None
    if token:
        answer = httpx.post(f"{site.url}/login", data={"token": token}, timeout=PATIENCE)
        assert answer.status_code == 303
        cookies = answer.cookies
    return httpx.Client(base_url=site.url, cookies=cookies, timeout=PATIENCE)


def csrf_of(page: httpx.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    return found.group(1)


def test_without_a_session_every_page_leads_to_the_log_in_and_back(site: Running) -> None:
    with client(site) as stranger:
        asked = stranger.get("/queue", params={"dataset": "a b"})
        assert asked.status_code == 303
        assert asked.headers["location"] == "/login?next=%2Fqueue%3Fdataset%3Da%2Bb"
        into = stranger.post("/login", data={"token": new_token(site), "next": "/queue?dataset=a+b"})
        assert into.headers["location"] == "/queue?dataset=a+b"


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/",
        "//example.org",
        "/\\example.org",
        "javascript:alert(1)",
        "/\t/example.org",
        "x",
        "",
    ],
)
def test_nobody_is_led_elsewhere_after_log_in(site: Running, address: str) -> None:
    assert safe_next(address) == "/"
    with client(site) as stranger:
        into = stranger.post("/login", data={"token": new_token(site), "next": address})
        assert into.headers["location"] == "/"


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(site: Running) -> None:
    with client(site) as stranger:
        plain = stranger.post("/login", data={"token": new_token(site)}).headers["set-cookie"].lower()
        # as from a server in front that ends TLS, on this computer
        secure = stranger.post(
            "/login", data={"token": new_token(site)}, headers={"X-Forwarded-Proto": "https"}
        )
    assert "httponly" in plain
    assert "samesite=lax" in plain
    assert "secure" not in plain
    cookie = secure.headers["set-cookie"]
    assert cookie.startswith("__Host-curation=")
    assert "Secure" in cookie
    assert "Path=/" in cookie


def test_a_wrong_token_is_told_apart_from_nothing(site: Running) -> None:
    gone = create_token(site.engine, "gone", ["review"])
    revoke_token(site.engine, "gone")
    with client(site) as stranger:
        answers = {stranger.post("/login", data={"token": t}).text for t in (gone, "cur_wrong", "", "ü\x00")}
        assert len(answers) == 1
        assert stranger.post("/login", data={"token": gone}).status_code == 401
        program = create_token(site.engine, "a program", ["ingest", "metrics"])
        assert stranger.post("/login", data={"token": program}).status_code == 403
        assert not stranger.cookies


def test_guessing_is_slowed_down_and_does_not_lock_others_out(sqlite: Engine) -> None:
    with serving(sqlite) as site, client(site) as stranger:
        statuses = [stranger.post("/login", data={"token": f"cur_{n}"}).status_code for n in range(21)]
        assert statuses == [401] * 20 + [429]
        assert stranger.post("/login", data={"token": new_token(site)}).status_code == 303


def test_revoking_a_token_ends_its_sessions(site: Running) -> None:
    token = create_token(site.engine, "short lived", ["review"])
    with client(site, token) as visitor:
        assert visitor.get("/").status_code == 200
        revoke_token(site.engine, "short lived")
        assert visitor.get("/").headers["location"] == "/login"


def test_logging_out_takes_the_cookie_away(site: Running) -> None:
    with client(site, new_token(site)) as visitor:
        csrf = csrf_of(visitor.get("/"))
        assert visitor.post("/logout", data={"csrf": csrf}).headers["location"] == "/login"
        assert not visitor.cookies
        assert visitor.get("/").status_code == 303


def test_forms_of_other_sites_and_sessions_are_refused(site: Running) -> None:
    with client(site, new_token(site)) as visitor, client(site, new_token(site)) as other:
        csrf, foreign = csrf_of(visitor.get("/")), csrf_of(other.get("/"))
        for wrong in ({"other": ""}, {"csrf": ""}, {"csrf": foreign}, {"csrf": "ü"}):
            assert visitor.post("/logout", data=wrong).status_code == 403
        for origin in ("https://example.org", "null", f"http://127.0.0.1:{site.port + 1}"):
            refused = visitor.post("/logout", data={"csrf": csrf}, headers={"Origin": origin})
            assert refused.status_code == 403
            assert visitor.post("/login", data={"token": "x"}, headers={"Origin": origin}).status_code == 403
        assert visitor.post("/logout", json={"csrf": csrf}).status_code == 415
        assert visitor.post("/logout", content=b"csrf=" + b"x" * 70_000, headers=FORM).status_code == 413
        assert visitor.get("/").status_code == 200, "still logged in"


def test_a_forged_cookie_is_nobody(site: Running) -> None:
    with client(site, new_token(site)) as visitor:
        (name, value), *_ = visitor.cookies.items()
    other = Sessions(site.engine, Settings(serve_secret="another key"), None)
    forged = other._signer.dumps([1, "csrf", ""])  # pyright: ignore[reportPrivateUsage]
    for wrong in (value[:-1], value + "x", "", str(forged), "ü"):
        asked = httpx.get(site.url, headers={"Cookie": f"{name}={wrong}".encode()}, timeout=PATIENCE)
        assert asked.status_code == 303


def test_pages_have_a_policy_of_their_own_and_programs_keep_theirs(site: Running) -> None:
    with client(site, new_token(site)) as visitor:
        page, data = visitor.get("/"), site.client.get("/v1/status")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert page.headers["referrer-policy"] == "same-origin"
    assert len(page.headers.get_list("content-security-policy")) == 1
    assert data.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"


def test_files_are_named_by_what_they_hold_and_there_are_no_others(site: Running) -> None:
    with client(site) as stranger:
        page = stranger.get("/login").text
        for address in re.findall(r'(?:href|src)="(/static/[^"]+)"', page):
            kept = stranger.get(address)
            assert kept.status_code == 200
            assert "immutable" in kept.headers["cache-control"]
        for wrong in ("nothing.css", "../pages.py", "%2e%2e%2fpages.py", "pages.css/"):
            assert stranger.get(f"/static/{wrong}").status_code == 404


def test_an_error_is_a_page_with_what_to_do_next(site: Running) -> None:
    with client(site, new_token(site)) as visitor:
        asked = visitor.get("/queue", params={"dataset": "<b>no such"})
    assert asked.status_code == 404
    assert "Known datasets" in asked.text
    assert "<b>no such" not in asked.text


def test_an_unknown_address_is_a_page_to_browsers_and_data_to_programs(site: Running) -> None:
    with client(site) as stranger:
        page = stranger.get("/<b>nowhere", headers={"accept": "text/html,*/*;q=0.8"})
        data = stranger.get("/<b>nowhere")
    assert page.status_code == data.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert "there is no such page" in page.text
    assert "<b>nowhere" not in page.text
    assert set(data.json()) == {"error", "next"}


def test_the_key_is_made_once_and_for_its_owner_alone(sqlite: Engine, tmp_path: Path) -> None:
    settings = Settings(home=tmp_path / "home")
    Sessions(sqlite, settings, None)
    key = tmp_path / "home" / "session-key"
    first = key.read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(first) >= 64
    Sessions(sqlite, settings, None)
    assert key.read_text() == first
    assert [path.name for path in key.parent.iterdir()] == ["session-key"]


@pytest.mark.slow
def test_the_printed_address_logs_in_once_and_leaves_no_trace(sqlite: Engine, browser: Browser) -> None:
    local = LocalUser()
    with serving(sqlite, local=local) as site:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{site.url}/login#{local.code}")
        page.wait_for_url(f"{site.url}/")
        assert page.locator(".who .name").inner_text().strip() == local.name
        assert not [url for url in asked if local.code in url.partition("#")[0]]
        page.go_back()
        assert local.code not in page.url
        page.close()
        with client(site) as stranger:
            assert stranger.post("/login", data={"token": local.code}).status_code == 401


def test_the_local_user_ends_with_the_process(sqlite: Engine) -> None:
    local = LocalUser()
    with serving(sqlite, local=local) as site, client(site, local.code) as visitor:
        assert visitor.get("/").status_code == 200
        site.app.state.room.sessions.local = LocalUser()
        assert visitor.get("/").status_code == 303


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_the_log_in_page(site: Running, browser: Browser, width: int) -> None:
    with browsing(browser, site, width=width) as seen:
        seen.page.click("text=Log out")
        seen.page.wait_for_url("**/login")
        seen.assert_fits()
        seen.keep(f"login-{width}")
        seen.page.keyboard.type("cur_wrong")
        seen.page.keyboard.press("Enter")
        assert "not known" in seen.page.get_by_role("alert").inner_text()
        log_in(seen.page, site, new_token(site))
        seen.page.keyboard.press("?")
        assert seen.page.get_by_role("dialog").is_visible()
        assert seen.page.evaluate("document.activeElement.innerText") == "Close"
        seen.keep(f"help-{width}")
        seen.page.keyboard.press("Escape")
        seen.page.keyboard.press("g")
        seen.page.keyboard.press("q")
        seen.page.wait_for_url("**/queue*")
        assert [line for line in seen.console if "Failed to load resource" not in line] == []
