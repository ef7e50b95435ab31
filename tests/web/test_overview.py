"""The first page, and its figures."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser
from sqlalchemy import Engine

from curation.ledger import reading
from curation.ledger.decisions import NewDecision, record_decisions, standings
from curation.ledger.overview import decided_in, risk_range, score_columns
from curation.ledger.ranks import Ranks
from curation.triage import TierPolicy
from curation.web.distribution import distribution
from tests.ledger.builders import sample, scored_dataset
from tests.service.running import Running, serving
from tests.web.ledgers import SUPPORT
from tests.web.rig import DESKTOP, PHONE, browsing, new_token
from tests.web.test_foundation import client


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "dark")])
def test_it_fits_is_calm_and_says_how_far_everything_is(
    site: Running, browser: Browser, width: int, scheme: str
) -> None:
    with browsing(browser, site, width=width, scheme=scheme) as seen:
        page = seen.go("/")
        card = page.locator("article", has_text=SUPPORT)
        assert "3 quarantined" in card.inner_text()
        assert "5 not yet scored" in card.inner_text()
        assert "12 approved, 7 rejected, 1 in conflict" in card.inner_text()
        assert card.locator("svg.histogram rect").count() > 8
        assert "out of memory on the GPU" in page.inner_text("main")
        assert "41.7" in page.inner_text("main")
        seen.assert_fits()
        seen.keep(f"overview-{width}-{scheme}")
        seen.assert_calm()


def test_an_empty_ledger_says_what_to_do(ledger: Engine) -> None:
    with serving(ledger) as site, client(site, new_token(site)) as visitor:
        assert "curation ingest" in visitor.get("/").text
        assert "curation ingest" in visitor.get("/queue").text


def test_bars_are_all_samples_and_tiers_are_those_of_the_queue(ledger: Engine) -> None:
    risks = [float(n % 97) for n in range(400)]
    dataset_id, scorer_id, _ = scored_dataset(ledger, risks)
    policy = TierPolicy()
    with reading(ledger) as conn:
        found = distribution(score_columns(conn, dataset_id, scorer_id), policy)
        sizes = Ranks(conn, dataset_id, scorer_id).sizes(policy)
        assert risk_range(conn, dataset_id, scorer_id) == (0.0, 96.0)
        assert risk_range(conn, dataset_id, scorer_id + 1) is None
        assert distribution(score_columns(conn, dataset_id, scorer_id + 1), policy) is None
    assert found
    tallest = max(np.histogram(risks, found.columns)[0])
    for tier, size in sizes.items():
        assert sum(bar.height for bar in found.bars if bar.tier == tier) * tallest == pytest.approx(size)


def test_standings_and_progress_count_last_words(ledger: Engine) -> None:
    dataset_id, scorer_id, _ = scored_dataset(ledger, [float(n) for n in range(10)])
    said = [
        (9, "approve", "a"),
        (9, "reject", "b"),
        (8, "reject", "a"),
        (7, "approve", "a"),
        (6, "approve", "a"),
    ]
    record_decisions(ledger, dataset_id, [NewDecision(sample(str(n)).id, v, who, "t") for n, v, who in said])  # type: ignore[arg-type]
    record_decisions(ledger, dataset_id, [NewDecision(sample("6").id, "withdraw", "a", "t")])
    with reading(ledger) as conn:
        assert standings(conn, dataset_id) == (1, 1, 1)
        ranks = Ranks(conn, dataset_id, scorer_id)
        assert decided_in(ranks, TierPolicy(), ("critical", "high", "medium")) == {
            "critical": 1,
            "high": 0,
            "medium": 2,
        }
