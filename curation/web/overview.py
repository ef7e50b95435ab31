"""The first page: every dataset, how risky, how far scored and reviewed; targets, and who is at work."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from fastapi import APIRouter, FastAPI, Response

from curation.ledger.decisions import Standings, standings
from curation.ledger.engine import reading
from curation.ledger.fleet import seconds_left
from curation.ledger.overview import decided_in, score_columns
from curation.ledger.queue import count_states
from curation.ledger.ranks import Ranks
from curation.ledger.samples import Dataset, list_datasets
from curation.ledger.scores import newest_scorer
from curation.service.context import Service
from curation.triage import Tier
from curation.web.choice import ScorerPrefix
from curation.web.distribution import Distribution, distribution
from curation.web.pages import PageRoute, Reading
from curation.web.remembered import Remembered

router = APIRouter(route_class=PageRoute, include_in_schema=False)

DRAWN = 10_000
"""Scores that a distribution is drawn from; of more, as many at random."""

MOST = 30
"""Datasets that are shown in full; of others the name."""

_FIRST: tuple[Tier, ...] = ("critical", "high")


@dataclass(frozen=True, slots=True)
class Figures:
    """A dataset by one scorer. `reviewed`: of the upper tiers, on how many samples somebody's word stands."""

    samples: int
    scored: int
    quarantined: int
    tiers: Mapping[Tier, int]
    reviewed: Mapping[Tier, int]
    standings: Standings
    distribution: Distribution | None

    @property
    def unscored(self) -> int:
        return self.samples - self.scored - self.quarantined


Question = tuple[int, int]
"""Dataset and scorer."""


def install(app: FastAPI, service: Service) -> None:
    app.state.overview = Remembered(partial(_figures, service))


@router.get("/")
def overview(page: Reading, scorer: ScorerPrefix = "") -> Response:
    with reading(page.service.engine) as conn:
        datasets = list_datasets(conn)
        scorer_id, fingerprint = newest_scorer(conn, scorer or None)
    figures: Remembered[Question, Figures] = page.request.app.state.overview
    shown: list[tuple[Dataset, Figures]] = [
        (dataset, figures((dataset.id, scorer_id)).answer) for dataset in datasets[:MOST]
    ]
    fleet = page.service.fleet()
    return page.render(
        "overview.html.j2",
        shown=shown,
        others=datasets[MOST:],
        fingerprint=fingerprint,
        fleet=fleet,
        left=seconds_left(fleet.backlogs, fleet.workers),
    )


def _figures(service: Service, question: Question) -> Figures:
    dataset_id, scorer_id = question
    policy = service.settings.tiers
    with reading(service.engine) as conn:
        ranks = Ranks(conn, dataset_id, scorer_id)
        samples, scored, held = count_states(ranks)
        return Figures(
            samples,
            scored,
            held,
            ranks.sizes(policy),
            decided_in(ranks, policy, _FIRST),
            standings(conn, dataset_id),
            distribution(score_columns(conn, dataset_id, scorer_id, DRAWN), policy),
        )
