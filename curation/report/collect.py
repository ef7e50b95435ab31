"""From the ledger (and, for token heat, the scorer) to what a report shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
from sqlalchemy import Connection

from curation import __version__
from curation.errors import EncodeError
from curation.ledger.intervals import Interval, firmness, intervals_of
from curation.ledger.overview import counts, ranked_samples, repeats, score_columns
from curation.ledger.queue import QueueItem, page, score_of
from curation.ledger.samples import Dataset, list_occurrences
from curation.ledger.scores import Scorer as StoredScorer
from curation.report.confounds import is_list
from curation.report.data import (
    Columns,
    Duplicates,
    Provenance,
    QuarantinedRow,
    Repeated,
    ReportData,
    ReportRow,
    Review,
    SourceFile,
    TokenHeat,
    Turn,
)
from curation.review.agreement import agreement
from curation.review.fold import Rule
from curation.review.outcomes import outcomes
from curation.review.precision import precision_at
from curation.samples.sample import Sample
from curation.sqsd.maps import Explanation, explain
from curation.sqsd.scorer import Scorer
from curation.triage import TierPolicy

MAX_POINTS = 20_000
"""Samples that plots and confounds are computed on; of more, a fixed random subset."""

_LIBRARIES = ("torch", "transformers", "peft")


@dataclass(frozen=True)
class Wanted:
    """What to show: `top` samples in full, the first `heated` of them with token heat if a scorer is given."""

    top: int = 50
    heated: int = 15
    policy: TierPolicy = field(default_factory=TierPolicy)
    files: Sequence[SourceFile] = ()
    warnings: Sequence[str] = ()


def collect(
    conn: Connection,
    dataset: Dataset,
    stored: StoredScorer,
    wanted: Wanted,
    scorer: Scorer | None = None,
    on_heat: Callable[[int, Explanation], None] = lambda _pk, _found: None,
) -> ReportData:
    """Everything a report shows of a dataset under a scorer. `on_heat` is called with each explained sample."""
    total = counts(conn, dataset.id, stored.id, wanted.policy)
    items = _riskiest(conn, dataset, stored, wanted)
    held = [i for i in page(conn, dataset.id, stored.id, 50).items if i.state == "quarantined"]
    bands = intervals_of(conn, dataset.id, stored.id, [item.pk for item in items])
    rows: list[ReportRow] = []
    for rank, item in enumerate(items, start=1):
        found = _explained(scorer, item.sample) if scorer and rank <= wanted.heated else None
        heat = _heat(found) if found else ()
        rows.append(_row(conn, item, rank, heat, bands.get(item.pk)))
        if found:
            on_heat(item.pk, found)
    notes = list(wanted.warnings)
    if total.unscored:
        notes.append(f"{total.unscored:,} samples have no score yet; run the same command again to go on.")
    card = stored.card
    return ReportData(
        provenance=Provenance(
            dataset.name,
            datetime.now(UTC),
            samples=total.samples,
            files=wanted.files,
            scorer=stored.fingerprint,
            versions={"curation": __version__} | {name: version(name) for name in _LIBRARIES},
        ),
        columns=_columns(conn, dataset.id, stored.id),
        n_scored=total.scored,
        rows=rows,
        quarantined=[
            QuarantinedRow(
                i.content_hash, i.reason or "", _source(conn, i.pk), _turns(i.sample), max(i.copies, 1)
            )
            for i in held
        ],
        n_quarantined=total.quarantined,
        duplicates=_duplicates(conn, dataset.id, stored.id, total.duplicates, items),
        policy=wanted.policy,
        model_card=card.get("model", {}),
        direction_cards=_direction_cards(card),
        warnings=notes,
        review=_review(conn, dataset.id, stored.id),
        firmness=firmness(conn, dataset.id, stored.id, wanted.policy),
    )


def _review(conn: Connection, dataset_id: int, scorer_id: int, rule: Rule = "any-reject") -> Review | None:
    """None before the first decision."""
    found = outcomes(conn, dataset_id, scorer_id, rule)
    if not found.decisions:
        return None
    rejected = int(found.rejected.sum())
    return Review(
        rule,
        len(found.rejected) - rejected,
        rejected,
        found.undecided,
        found.conflicts,
        agreement(found),
        precision_at(found),
    )


def _riskiest(conn: Connection, dataset: Dataset, stored: StoredScorer, wanted: Wanted) -> list[QueueItem]:
    chosen = ranked_samples(conn, dataset.id, stored.id, limit=wanted.top)
    return [score_of(conn, stored.id, pk, wanted.policy) for pk, _, _ in list(chosen)]


def _columns(conn: Connection, dataset_id: int, scorer_id: int) -> Columns:
    numbers = score_columns(conn, dataset_id, scorer_id, limit=MAX_POINTS)
    lists = [
        is_list(s.answer) for _, s, _ in ranked_samples(conn, dataset_id, scorer_id, MAX_POINTS, "random")
    ]
    return Columns(
        numbers.risk,
        numbers.danger,
        numbers.safety,
        numbers.loss,
        numbers.n_answer_tokens,
        np.array(lists, dtype=np.bool_),
    )


def _row(
    conn: Connection, item: QueueItem, rank: int, heat: Sequence[TokenHeat], band: Interval | None
) -> ReportRow:
    assert item.risk is not None
    assert item.percentile is not None
    assert item.tier is not None
    return ReportRow(
        item.content_hash,
        rank,
        item.risk,
        item.percentile,
        item.tier,
        item.danger or 0.0,
        item.safety or 0.0,
        item.loss or 0.0,
        item.n_answer_tokens or 0,
        _source(conn, item.pk),
        _turns(item.sample),
        copies=max(item.copies, 1),
        truncated=bool(item.truncated),
        heat=heat,
        band=band,
    )


def _explained(scorer: Scorer, sample: Sample) -> Explanation | None:
    try:
        return explain(scorer, sample)
    except EncodeError:  # it was scored once, so its text is fine; the template may have changed since
        return None


def _heat(found: Explanation) -> list[TokenHeat]:
    return [TokenHeat(text, risk) for text, risk in zip(found.pieces, found.risk_by_position(), strict=True)]


def _turns(sample: Sample) -> list[Turn]:
    trained = set(sample.trained_turns)
    return [Turn(m.role, m.content, i in trained) for i, m in enumerate(sample.messages)]


def _source(conn: Connection, pk: int) -> str:
    places = list_occurrences(conn, pk)
    return f"{places[0].file}:{places[0].line}" if places else "on no line any more"


def _duplicates(
    conn: Connection, dataset_id: int, scorer_id: int, extra: int, items: Sequence[QueueItem]
) -> Duplicates:
    groups, most = repeats(conn, dataset_id)
    ranks = {item.pk: rank for rank, item in enumerate(items, start=1)}
    repeated = [
        Repeated(n, score_of(conn, scorer_id, pk).sample.prompt, _source(conn, pk), ranks.get(pk))
        for pk, n in most
    ]
    return Duplicates(extra, groups, repeated)


def _direction_cards(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Per term what the scorer's card says of its direction and state, and of the method."""
    cards = {
        name: {**facts, "initial state": card.get("states", {}).get(name)}
        for name, facts in card.get("directions", {}).items()
    }
    method = (
        *("method", "reads", "metric", "update", "max_tokens", "first_tokens", "safety_scale", "covers"),
        "loaded_from",
    )
    return {**cards, "scorer": {key: card[key] for key in method if key in card}}
