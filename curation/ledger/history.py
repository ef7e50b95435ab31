"""Everything the ledger knows of one sample, in order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, select

from curation.ledger.decisions import decisions_on
from curation.ledger.exports import exports_of
from curation.ledger.tables import items, quarantine, samples, scorers, scores, targets

_AT_ONCE = 2.0
"""Seconds within which a decision counts as known when it was made."""

Kind = Literal["seen", "scored", "quarantined", "shown", "decided", "exported"]


@dataclass(frozen=True, slots=True)
class Event:
    """`at`: when the ledger learned of it, by the database's clock; an export stands at the moment it looked."""

    at: datetime
    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


def history(conn: Connection, sample_pk: int) -> list[Event]:
    """Every score, failure to score, decision and export of a sample, and where it is shown, oldest first."""
    events = [
        *_seen(conn, sample_pk),
        *_scored(conn, sample_pk),
        *_quarantined(conn, sample_pk),
        *_shown(conn, sample_pk),
    ]
    query = select(samples.c.dataset_id).where(samples.c.id == sample_pk)
    dataset_id = conn.execute(query).scalar_one()
    for made in decisions_on(conn, dataset_id, [sample_pk]).get(sample_pk, ()):
        facts = {
            name: getattr(made, name) for name in made._fields if name not in ("sample_pk", "recorded_at")
        }
        events.append(Event(made.recorded_at, "decided", facts))
    for export in exports_of(conn, dataset_id, sample_pk):
        facts = {
            name: getattr(export, name) for name in export._fields if name not in ("counts", "snapshot_at")
        }
        events.append(Event(export.snapshot_at, "exported", facts))
    return sorted(events, key=lambda event: event.at)  # at one moment in the order of the kinds


# Their tables are in order of scorer first: named one by one, each is a single look into the index.
_every_scorer = select(scorers.c.id)


def _seen(conn: Connection, sample_pk: int) -> list[Event]:
    query = select(samples.c.first_seen, samples.c.content_hash).where(samples.c.id == sample_pk)
    return [Event(row.first_seen, "seen", {"id": row.content_hash}) for row in conn.execute(query)]


def _scored(conn: Connection, sample_pk: int) -> list[Event]:
    query = (
        select(scorers.c.fingerprint, scores.c.risk, scores.c.danger, scores.c.safety, scores.c.scored_at)
        .join_from(scores, scorers)
        .where(scores.c.scorer_id.in_(_every_scorer), scores.c.sample_id == sample_pk)
    )
    return [
        Event(at, "scored", {"scorer": scorer, "risk": risk, "danger": danger, "safety": safety})
        for scorer, risk, danger, safety, at in conn.execute(query)
    ]


def _shown(conn: Connection, sample_pk: int) -> list[Event]:
    query = (
        select(targets.c.name, targets.c.platform, items.c.remote_id, items.c.since)
        .join_from(items, targets)
        .where(items.c.target_id.in_(select(targets.c.id)), items.c.sample_id == sample_pk)
    )
    return [
        Event(at, "shown", {"target": name, "platform": platform, "item": remote_id})
        for name, platform, remote_id, at in conn.execute(query)
    ]


def _quarantined(conn: Connection, sample_pk: int) -> list[Event]:
    query = (
        select(scorers.c.fingerprint, quarantine.c.reason, quarantine.c.attempts, quarantine.c.last_at)
        .join_from(quarantine, scorers)
        .where(quarantine.c.scorer_id.in_(_every_scorer), quarantine.c.sample_id == sample_pk)
    )
    return [
        Event(at, "quarantined", {"scorer": scorer, "reason": reason, "attempts": attempts})
        for scorer, reason, attempts, at in conn.execute(query)
    ]


def words(event: Event) -> str:
    """What happened, in words for people. Reasons and names are as their authors wrote them."""
    facts = event.facts
    match event.kind:
        case "seen":
            return "read in for the first time"
        case "scored":
            return f"risk {facts['risk']:+.3f} by scorer {facts['scorer'][:12]}"
        case "quarantined":
            times = "once" if facts["attempts"] == 1 else f"{facts['attempts']} times"
            return f"{facts['reason']} (scorer {facts['scorer'][:12]}, tried {times})"
        case "decided":
            reason = f": {facts['reason']}" if facts["reason"] else ""
            late = abs((event.at - facts["decided_at"]).total_seconds()) > _AT_ONCE
            made = f", made {facts['decided_at']:%Y-%m-%d %H:%M:%S}" if late else ""
            return f"{facts['verdict']} by {facts['reviewer']}{reason} ({facts['source']}{made})"
        case "shown":
            return f"on {facts['platform']} {facts['target']} as {facts['item']}"
        case "exported":
            return (
                f"export {facts['id']} by {facts['exported_by']} as {facts['format']}, policy "
                f"{facts['policy_sha256'][:12]}, manifest {facts['manifest_sha256'][:12]}"
            )
