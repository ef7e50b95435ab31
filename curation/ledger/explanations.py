"""Explanations: where a score comes from, by token and by module, for the samples that somebody asked about.

Making one takes the model, and pages have none: whoever makes one keeps it here, in place of the one before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, Engine, select

from curation.ledger import bulk, clock
from curation.ledger.engine import writing
from curation.ledger.ranks import Ranks
from curation.ledger.samples import StoredSample
from curation.ledger.tables import explanations, samples, scores
from curation.samples.sample import Sample

_FORMAT = 1


class ModuleShare(NamedTuple):
    """What one module adds to the projections; its share of the risk is danger - safety. Higher = riskier."""

    danger: float
    safety: float


@dataclass(frozen=True, slots=True)
class Reasons:
    """`tokens` as the model read them, with the share of the risk of an update at each (they sum to the risk; higher =
    riskier), and what each module adds to both projections."""

    tokens: Sequence[str]
    risks: Sequence[float]
    modules: Mapping[str, ModuleShare]


def keep_reasons(engine: Engine, scorer_id: int, sample_pk: int, reasons: Reasons) -> None:
    """Keep where a score comes from, in place of what was kept before."""
    body = {
        "format": _FORMAT,
        "tokens": list(reasons.tokens),
        "risks": list(reasons.risks),
        "modules": {name: list(share) for name, share in reasons.modules.items()},
    }
    row = {
        "scorer_id": scorer_id,
        "sample_id": sample_pk,
        "body": orjson.dumps(body).decode(),
    }
    with writing(engine) as conn:
        new = bulk.insert(conn, explanations).values(created_at=clock.in_seconds(0.0), **row)
        newer = {"body": new.excluded.body, "created_at": new.excluded.created_at}
        conn.execute(new.on_conflict_do_update(index_elements=["scorer_id", "sample_id"], set_=newer))


def reasons_of(conn: Connection, scorer_id: int, sample_pk: int) -> tuple[Reasons, datetime] | None:
    """Where a score comes from and when that was found out; None if nobody asked, or another version wrote it."""
    query = select(explanations.c.body, explanations.c.created_at).where(
        explanations.c.scorer_id == scorer_id, explanations.c.sample_id == sample_pk
    )
    row = conn.execute(query).one_or_none()
    if row is None or (body := orjson.loads(row.body)).get("format") != _FORMAT:
        return None
    modules = {name: ModuleShare(*share) for name, share in body["modules"].items()}
    return Reasons(body["tokens"], body["risks"], modules), row.created_at


def riskiest_without_reasons(
    conn: Connection, dataset_id: int, scorer_id: int, top: int
) -> list[StoredSample]:
    """Those of the `top` riskiest samples of which nobody has asked where their score comes from, riskiest first."""
    first = select(scores.c.sample_id, scores.c.risk).where(Ranks(conn, dataset_id, scorer_id).scored)
    first = first.order_by(scores.c.risk.desc(), scores.c.sample_id).limit(top).subquery()
    known = select(explanations.c.sample_id).where(explanations.c.scorer_id == scorer_id)
    query = (
        select(samples.c.id, samples.c.body)
        .join(first, first.c.sample_id == samples.c.id)
        .where(samples.c.id.not_in(known))
        .order_by(first.c.risk.desc(), samples.c.id)
    )
    return [StoredSample(pk, dataset_id, Sample.from_json(body)) for pk, body in conn.execute(query)]
