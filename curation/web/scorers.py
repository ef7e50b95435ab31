"""Scorers with their cards, and the directions and states they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Path, Response

from curation.errors import InputError
from curation.ledger.engine import reading
from curation.ledger.fleet import known_scorers, score_counts
from curation.ledger.queue import count_states
from curation.ledger.ranks import Ranks
from curation.ledger.samples import list_datasets
from curation.ledger.scores import Scorer, find_scorer
from curation.sqsd.cards import KnownAdapter, known_adapters
from curation.web.pages import PageRoute, Reading

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_SECTIONS = {
    "model": "Model",
    "anchors": "Anchors",
    "imported": "Imported",
    "settings": "Fit settings",
    "validation": "Validation",
}
"""Parts of a direction's card that are shown apart, with their titles."""

_FACTS = ("kind", "fingerprint", "created_at")


@dataclass(frozen=True, slots=True)
class Part:
    """A direction or state of a scorer: its role, its fingerprint (None: the model as it is), the adapter it is if
    that is known here."""

    role: str
    fingerprint: str | None
    adapter: KnownAdapter | None


@router.get("/scorers")
def scorers(page: Reading) -> Response:
    """Every scorer of the ledger, the newest first."""
    with reading(page.service.engine) as conn:
        found, counts = known_scorers(conn), score_counts(conn)
    adapters = known_adapters(page.service.settings.home)
    return page.render(
        "scorers.html.j2",
        scorers=[(scorer, since, _parts(scorer.card, adapters)) for scorer, since in reversed(found)],
        counts=counts,
    )


@router.get("/scorers/directions")
def directions(page: Reading) -> Response:
    """The directions and states that can be named here."""
    with reading(page.service.engine) as conn:
        known = known_scorers(conn)
    found = known_adapters(page.service.settings.home)
    return page.render("directions.html.j2", adapters=[(one, _users(one, known)) for one in found])


@router.get("/scorers/directions/card")
def direction(page: Reading, name: str, shipped: bool = False) -> Response:
    """The card of a direction or state."""
    for adapter in known_adapters(page.service.settings.home):
        if (adapter.name, adapter.shipped) == (name, shipped):
            break
    else:
        raise InputError("there is no such direction here", "The list of directions has those there are.")
    with reading(page.service.engine) as conn:
        users = _users(adapter, known_scorers(conn))
    card = adapter.card or {}
    loss = _curve(card)
    shown = {*_SECTIONS, *_FACTS} | ({"loss"} if loss else set())
    rest = {key: value for key, value in card.items() if key not in shown}
    return page.render(
        "direction.html.j2", adapter=adapter, users=users, loss=loss, sections=_SECTIONS.items(), rest=rest
    )


@router.get("/scorers/{fingerprint}")
def scorer(page: Reading, fingerprint: Annotated[str, Path(pattern="^[0-9a-f]{6,64}$")]) -> Response:
    """One scorer: what it is made of, how much it scored, and its card in full."""
    with reading(page.service.engine) as conn:
        found = find_scorer(conn, fingerprint)
        since = next(since for known, since in known_scorers(conn) if known.id == found.id)
        datasets = [
            (dataset.name, count_states(Ranks(conn, dataset.id, found.id))) for dataset in list_datasets(conn)
        ]
    parts = _parts(found.card, known_adapters(page.service.settings.home))
    return page.render("scorer.html.j2", scorer=found, since=since, parts=parts, datasets=datasets)


def _parts(card: Mapping[str, Any], adapters: Sequence[KnownAdapter]) -> list[Part]:
    """Directions, then states. A card may come from elsewhere and say anything."""
    by_fingerprint = {_fingerprint(adapter): adapter for adapter in adapters if _fingerprint(adapter)}
    named: list[tuple[str, str | None]] = []
    for group, what in (("directions", "direction"), ("states", "state")):
        members = card.get(group)
        for name, member in members.items() if isinstance(members, dict) else ():
            value = member.get("fingerprint") if isinstance(member, dict) else member
            named.append((f"{name} {what}", value if isinstance(value, str) else None))
    return [Part(role, value, by_fingerprint.get(value)) for role, value in named]


def _fingerprint(adapter: KnownAdapter) -> str | None:
    value = (adapter.card or {}).get("fingerprint")
    return value if isinstance(value, str) else None


def _users(adapter: KnownAdapter, known: Sequence[tuple[Scorer, Any]]) -> list[Scorer]:
    """The scorers that are made of an adapter."""
    return [one for one, _ in known if any(part.adapter for part in _parts(one.card, [adapter]))]


def _curve(card: Mapping[str, Any]) -> str | None:
    """The loss of a fit as points of a line within 100 x 40, None if the card has none."""
    loss = card.get("loss")
    if not isinstance(loss, list) or not 2 <= len(loss) <= 100_000 or not all(_is_number(v) for v in loss):
        return None
    kept = loss[:: -(-len(loss) // 500)]
    low, high = min(kept), max(kept)
    width = (high - low) or 1.0
    return " ".join(
        f"{100 * i / (len(kept) - 1):.1f},{40 - 38 * (value - low) / width - 1:.1f}"
        for i, value in enumerate(kept)
    )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e300
