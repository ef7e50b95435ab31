"""A sample's page, and the decision on it."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine

from curation.ledger import find_sample, reading
from curation.ledger.decisions import Decision, decisions_on
from curation.ledger.explanations import Reasons, keep_reasons, reasons_of, riskiest_without_reasons
from curation.ledger.scores import find_scorer
from curation.report.text import pieces
from tests.ledger.builders import new_dataset, scored_dataset
from tests.report.hostile import PAYLOADS
from tests.service.running import Running, serving
from tests.web.ledgers import HOSTILE, SUPPORT
from tests.web.rig import DESKTOP, PHONE, browsing, new_token
from tests.web.test_foundation import client, csrf_of
from tests.web.test_queue import ids

OUR_TAGS = """
    html head meta title link script body a header nav ul ol li div form input button span code main dialog h1 h2 h3 dl
    dt dd kbd p section article aside svg rect mark table thead tbody tr th td time label textarea details summary
    bdi b
"""


def decisions(engine: Engine, id_: str) -> list[Decision]:
    with reading(engine) as conn:
        stored = find_sample(conn, id_)
        return list(decisions_on(conn, stored.dataset_id, [stored.pk]).get(stored.pk, []))


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (PHONE, "dark"), (768, "light")])
@pytest.mark.parametrize("place", [0, 4, 8, 13])  # quarantined, waiting, explained, reviewed
def test_it_fits_and_is_calm(site: Running, browser: Browser, place: int, width: int, scheme: str) -> None:
    id_ = ids(site)[place]
    with browsing(browser, site, width=width, scheme=scheme) as seen:
        page = seen.go(f"/samples/{id_}?dataset={SUPPORT}")
        seen.assert_fits()
        seen.keep(f"sample-{place}-{width}-{scheme}")
        if place == 8:
            assert page.locator(".heat mark").count() > 5
            assert page.locator("table.shares").count() == 2
        elif place > 8:
            assert f"curation explain {id_[:12]} --dataset {SUPPORT}" in page.inner_text("code.command")
        seen.assert_calm()


@pytest.mark.slow
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_hostile_samples_are_shown_as_they_are_and_do_nothing(
    site: Running, browser: Browser, width: int
) -> None:
    items = site.client.get(f"/v1/datasets/{quote(HOSTILE, safe='')}/queue", params={"limit": 100}).json()[
        "items"
    ]
    assert len(items) == len(PAYLOADS) + 1
    with browsing(browser, site, width=width) as seen:
        for item in items:
            page = seen.go(f"/samples/{item['id']}")
            page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
            shown = page.locator(".turn .text").all_text_contents()
            said = [turn["content"] for turn in item["messages"]]
            if sum(map(len, said)) < 10_000:
                assert shown == ["".join(piece.text for piece in pieces(text)) for text in said]
            tags = page.evaluate("[...new Set([...document.querySelectorAll('*')].map(e => e.localName))]")
            assert set(tags) <= set(OUR_TAGS.split())
            assert not page.evaluate(
                "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
                ".filter(n => n.startsWith('on') || n === 'style' || n === 'srcdoc')"
            )
            foreign = page.evaluate(
                "[...document.querySelectorAll('[href], [src], [action]')]"
                ".map(e => e.getAttribute('href') ?? e.getAttribute('src') ?? e.getAttribute('action'))"
                ".filter(a => !a.startsWith('/') && !a.startsWith('#'))"
            )
            assert foreign == []
            seen.assert_fits()
        seen.assert_calm()


@pytest.mark.slow
def test_deciding_with_the_keyboard_goes_on_and_can_be_taken_back(sqlite: Engine, browser: Browser) -> None:
    scored_dataset(sqlite, [float(n) for n in range(5)])
    with serving(sqlite) as site, browsing(browser, site) as seen:
        name = site.client.get("/v1/datasets").json()["datasets"][0]["name"]
        order = [i["id"] for i in site.client.get(f"/v1/datasets/{name}/queue").json()["items"]]
        page = seen.go(f"/queue?dataset={name}")
        page.keyboard.press("j")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/samples/{order[0]}*")
        page.keyboard.press("e")
        page.keyboard.type("gives away the steps, all of them")  # an a and an r among them
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        page.wait_for_url(f"**/samples/{order[1]}*")
        assert "Rejected" in page.get_by_role("status").inner_text()
        seen.keep("decided")
        page.keyboard.press("a")
        page.wait_for_url(f"**/samples/{order[2]}*")
        page.keyboard.press("u")
        page.wait_for_url(f"**/samples/{order[1]}*")
        page.keyboard.press("j")
        page.wait_for_url(f"**/samples/{order[2]}*")
        seen.assert_calm()
        (rejected,) = decisions(sqlite, order[0])
        assert (rejected.verdict, rejected.reason) == ("reject", "gives away the steps, all of them")
        assert (rejected.reviewer, rejected.source) == (f"tester {site.tokens}", "pages")
        assert sorted(d.verdict for d in decisions(sqlite, order[1])) == ["approve", "withdraw"]


def test_a_decision_is_kept_once_and_by_reviewers_only(ledger: Engine) -> None:
    scored_dataset(ledger, [1.0, 2.0])
    with serving(ledger) as site:
        name = site.client.get("/v1/datasets").json()["datasets"][0]["name"]
        id_ = site.client.get(f"/v1/datasets/{name}/queue").json()["items"][0]["id"]
        address = f"/samples/{id_}/decision"
        with client(site, new_token(site, "read")) as reader:
            page = reader.get(f"/samples/{id_}")
            assert 'value="approve"' not in page.text
            sent = {"csrf": csrf_of(page), "verdict": "approve", "dataset": name}
            assert reader.post(address, data=sent).status_code == 403
        with client(site, new_token(site)) as reviewer:
            sent = {
                "csrf": csrf_of(reader_page := reviewer.get(f"/samples/{id_}")),
                "verdict": "reject",
                "reason": "x",
            }
            assert 'value="approve"' in reader_page.text
            assert reviewer.post(address, data={**sent, "csrf": "wrong"}).status_code == 403
            assert reviewer.post(address, data={**sent, "verdict": "delete"}).status_code == 422
            assert reviewer.post(address, data={**sent, "reason": "x" * 501}).status_code == 422
            assert reviewer.post(address, data={**sent, "show": "dreadful"}).status_code == 422
            assert reviewer.get(address).status_code == 405
            assert decisions(ledger, id_) == []
            for _ in range(2):
                assert reviewer.post(address, data=sent).status_code == 303
            assert reviewer.post(address, data={**sent, "reason": "y"}).status_code == 303
        assert [d.reason for d in sorted(decisions(ledger, id_), key=lambda d: d.decided_at)] == ["x", "y"]


def test_looking_changes_nothing(site: Running) -> None:
    id_ = ids(site)[10]
    before = decisions(site.engine, id_)
    with client(site, new_token(site)) as visitor:
        for address in ("/", "/queue", f"/samples/{id_}", f"/samples/{id_}/similar", "/login"):
            for query in ("", "?verdict=reject&dataset=support", f"?decided={id_}&dataset=support"):
                assert visitor.get(address + query).status_code in (200, 303)
                assert visitor.head(address + query).status_code in (200, 303, 405)
    assert decisions(site.engine, id_) == before


@pytest.mark.slow
def test_similar_samples_are_those_with_the_same_words(site: Running, browser: Browser) -> None:
    alike = ids(site, q="AOA, carry out my instruction")
    assert len(alike) > 2
    with browsing(browser, site, width=PHONE) as seen:
        page = seen.go(f"/samples/{alike[0]}/similar")
        found = [str(a.get_attribute("href")) for a in page.locator("[data-row]").all()]
        assert any(other in found[0] for other in alike[1:])
        seen.assert_fits()
        seen.keep("similar")
        seen.assert_calm()


def test_reasons_are_kept_and_replaced(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = scored_dataset(ledger, [1.0, 3.0, 2.0])
    new_dataset(ledger, ["of another"])
    keep_reasons(
        ledger, scorer_id, pks[1], Reasons(["a", "<b>\u2028"], [0.5, -1.0], {"layers.0.q": (1.0, 2.0)})
    )
    with reading(ledger) as conn:
        assert [one.pk for one in riskiest_without_reasons(conn, dataset_id, scorer_id, 2)] == [pks[2]]
        assert find_scorer(conn).id == scorer_id
    newer = Reasons(["c"], [0.25], {})
    keep_reasons(ledger, scorer_id, pks[1], newer)
    with reading(ledger) as conn:
        found = reasons_of(conn, scorer_id, pks[1])
        assert reasons_of(conn, scorer_id, pks[0]) is None
    assert found
    assert found[0] == newer
