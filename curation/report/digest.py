"""What happened in a period: per dataset what came, what is risky and what was decided; exports, platforms, hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from curation.ledger.hooks import Hook, list_hooks
from curation.ledger.items import scorer_to_show
from curation.ledger.period import (
    Happened,
    NewRisky,
    PastExport,
    exports_since,
    happened,
    new_critical,
    period,
)
from curation.ledger.queue import count_states
from curation.ledger.ranks import Ranks
from curation.ledger.samples import Dataset
from curation.ledger.scores import scorer_by_id
from curation.ledger.targets import Target, list_targets
from curation.report.format import ago
from curation.report.render import page
from curation.report.text import excerpt
from curation.review.agreement import Agreement, agreement
from curation.review.outcomes import outcomes
from curation.triage import TierPolicy
from curation.webhooks import shown
from curation.whole_file import whole_file

TOP = 20
"""New critical samples that are named for each dataset; the others are counted."""

MOST_EXPORTS = 50

KIND = "digest"
"""Type of the message that carries a digest to a hook."""


@dataclass(frozen=True, slots=True)
class OfDataset:
    """One dataset. `scorer`: fingerprint of the one shown, None before the first; `unscored` and `quarantined` are
    what is left now. `n_critical` samples became critical in the period, `critical` are the riskiest of them.
    `agreed` and `conflicts` are those of all decisions so far."""

    name: str
    scorer: str | None
    samples: int
    unscored: int
    quarantined: int
    happened: Happened
    n_critical: int
    critical: Sequence[NewRisky]
    agreed: Agreement
    conflicts: int

    @property
    def quiet(self) -> bool:
        """Whether nothing happened here."""
        return self.happened == Happened(0, 0, 0, 0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Digest:
    """Everything that a digest says of the time from `since` to `until`, by the database's clock."""

    since: datetime
    until: datetime
    datasets: Sequence[OfDataset]
    n_exports: int
    exports: Sequence[PastExport]
    targets: Sequence[Target]
    hooks: Sequence[Hook]


def collect_digest(
    conn: Connection, length: timedelta, datasets: Sequence[Dataset], policy: TierPolicy
) -> Digest:
    """What happened in a period that ends now, in these datasets; exports, platforms and hooks are all there are."""
    since, until = period(conn, length)
    n_exports, exports = exports_since(conn, since, MOST_EXPORTS)
    found = [_of_dataset(conn, dataset, since, policy) for dataset in datasets]
    return Digest(since, until, found, n_exports, exports, list_targets(conn), list_hooks(conn))


def digest_json(digest: Digest, *, text: bool) -> dict[str, Any]:
    """Plain values; `text` adds the first words of the critical samples."""
    return {
        "since": digest.since.isoformat(),
        "until": digest.until.isoformat(),
        "datasets": [_dataset_json(one, text) for one in digest.datasets],
        "exports": [
            {
                "export": one.number,
                "dataset": one.dataset,
                "format": one.format,
                "rows": one.rows,
                "at": one.at.isoformat(),
            }
            for one in digest.exports
        ],
        "n_exports": digest.n_exports,
        "targets": [
            {
                "target": one.name,
                "platform": one.platform,
                "dataset": one.dataset,
                "seconds_since_pull": one.since_pull,
                "seconds_since_push": one.since_push,
                "trouble": one.trouble,
            }
            for one in digest.targets
        ],
        "hooks": [
            {"hook": one.id, "waiting": one.waiting, "failures": one.failures, "trouble": one.trouble}
            for one in digest.hooks
        ],
    }


def render_digest(digest: Digest) -> str:
    """The digest as one self-contained page, like the report: no script, nothing fetched, all text escaped."""
    total = {
        name: sum(getattr(one.happened, name) for one in digest.datasets)
        for name in ("ingested", "scored", "quarantined", "approved", "rejected")
    }
    return page(
        "digest.html.j2",
        digest=digest,
        total=total,
        critical=sum(one.n_critical for one in digest.datasets),
        unscored=sum(one.unscored for one in digest.datasets),
        quiet=sum(one.quiet for one in digest.datasets),
        shown=shown,
        ago=ago,
    )


def write_digest(digest: Digest, path: Path) -> None:
    """Write the page, whole or not at all. Raises InputError if it cannot be written."""
    made = render_digest(digest).encode()
    with whole_file(path, "The digest") as file:
        file.write(made)


def _of_dataset(conn: Connection, dataset: Dataset, since: datetime, policy: TierPolicy) -> OfDataset:
    scorer_id = scorer_to_show(conn, dataset.id)
    n_samples, n_scored, n_held = count_states(Ranks(conn, dataset.id, scorer_id or 0))
    n_critical, critical = 0, list[NewRisky]()
    if scorer_id is not None:
        n_critical, critical = new_critical(conn, dataset.id, scorer_id, since, policy, TOP)
    said = outcomes(conn, dataset.id, scorer_id or 0, "any-reject")
    return OfDataset(
        dataset.name,
        scorer_by_id(conn, scorer_id).fingerprint if scorer_id is not None else None,
        n_samples,
        n_samples - n_scored - n_held,
        n_held,
        happened(conn, dataset.id, scorer_id, since),
        n_critical,
        critical,
        agreement(said),
        said.conflicts,
    )


def _dataset_json(one: OfDataset, text: bool) -> dict[str, Any]:
    did = one.happened
    critical = [
        {"id": row.content_hash, "percentile": row.percentile, "risk": row.risk} for row in one.critical
    ]
    if text:
        critical = [
            named | {"prompt": excerpt(row.sample.prompt)}
            for named, row in zip(critical, one.critical, strict=True)
        ]
    return {
        "dataset": one.name,
        "scorer": one.scorer,
        "samples": one.samples,
        "unscored": one.unscored,
        "quarantined": one.quarantined,
        "new": {
            "ingested": did.ingested,
            "scored": did.scored,
            "quarantined": did.quarantined,
            "critical": one.n_critical,
        },
        "critical": critical,
        "decisions": {
            "approve": did.approved,
            "reject": did.rejected,
            "withdraw": did.withdrawn,
            "reviewers": did.reviewers,
        },
        "agreement": {
            "samples": one.agreed.n,
            "alpha": one.agreed.alpha.value if one.agreed.alpha else None,
            "conflicts": one.conflicts,
        },
    }
