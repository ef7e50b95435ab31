"""A dataset as a whole: counts, columns of numbers for plots, and samples in bulk."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray
from sqlalchemy import Connection, select

from curation.ledger.decisions import last_word_is
from curation.ledger.queue import count_states
from curation.ledger.ranks import Ranks
from curation.ledger.tables import occurrences, samples, scores
from curation.samples.sample import Sample
from curation.triage import Tier, TierPolicy

_BLOCK = 10_000
_BODIES = 200  # texts may be long
_NUMBERS = ("risk", "danger", "safety", "loss", "grad_norm", "n_tokens", "n_answer_tokens")


@dataclass(frozen=True, slots=True)
class Counts:
    """One dataset by one scorer; samples = scored + quarantined + unscored.

    `rows` are the lines read, `duplicates` those of them that repeat another line's sample.
    """

    samples: int
    rows: int
    duplicates: int
    scored: int
    quarantined: int
    unscored: int
    tiers: dict[Tier, int]


@dataclass(frozen=True, slots=True)
class ScoreColumns:
    """Scores as arrays of one length (n,), from the highest risk down. Higher risk = riskier."""

    pk: NDArray[np.int64]
    risk: NDArray[np.float64]
    danger: NDArray[np.float64]
    safety: NDArray[np.float64]
    loss: NDArray[np.float64]
    grad_norm: NDArray[np.float64]
    n_tokens: NDArray[np.int64]
    n_answer_tokens: NDArray[np.int64]


def counts(conn: Connection, dataset_id: int, scorer_id: int, policy: TierPolicy | None = None) -> Counts:
    """How many samples there are of each kind, counted now."""
    ranks = Ranks(conn, dataset_id, scorer_id)
    n_samples, n_scored, n_held = count_states(ranks)
    lines = select(sa.func.count(), sa.func.count(occurrences.c.sample_id.distinct()))
    rows, on_a_line = conn.execute(lines.where(occurrences.c.dataset_id == dataset_id)).one()
    return Counts(
        samples=n_samples,
        rows=rows,
        duplicates=rows - on_a_line,
        scored=n_scored,
        quarantined=n_held,
        unscored=n_samples - n_scored - n_held,
        tiers=ranks.sizes(policy or TierPolicy()),
    )


def decided_in(ranks: Ranks, policy: TierPolicy, tiers: Collection[Tier]) -> dict[Tier, int]:
    """In each of these tiers, on how many samples somebody's word stands. Looks at each sample of the tier."""
    decided = last_word_is(("approve", "reject"), sa.literal(ranks.dataset_id), scores.c.sample_id)
    found: dict[Tier, int] = {}
    for tier, band in ranks.bands(policy, tiers).items():
        query = select(sa.func.count()).select_from(scores).where(ranks.scored, band, decided)
        found[tier] = ranks.conn.execute(query).scalar_one()
    return found


def risk_range(conn: Connection, dataset_id: int, scorer_id: int) -> tuple[float, float] | None:
    """The lowest and the highest risk in a dataset; None if nothing is scored."""
    here = select(scores.c.risk).where(Ranks(conn, dataset_id, scorer_id).scored).limit(1)
    lowest = here.order_by(scores.c.risk).scalar_subquery()
    highest = here.order_by(scores.c.risk.desc()).scalar_subquery()
    low, high = conn.execute(select(lowest, highest)).one()
    return None if low is None else (low, high)


def repeats(conn: Connection, dataset_id: int, limit: int = 10) -> tuple[int, list[tuple[int, int]]]:
    """How many samples are on more than one line, and (pk, copies) of those with the most copies."""
    copies = sa.func.count().label("copies")
    repeated = (
        select(occurrences.c.sample_id, copies)
        .where(occurrences.c.dataset_id == dataset_id)
        .group_by(occurrences.c.sample_id)
        .having(copies > 1)
    )
    n = conn.execute(select(sa.func.count()).select_from(repeated.subquery())).scalar_one()
    most = conn.execute(repeated.order_by(copies.desc(), occurrences.c.sample_id).limit(limit))
    return n, [(pk, count) for pk, count in most]


def score_columns(
    conn: Connection, dataset_id: int, scorer_id: int, limit: int | None = None
) -> ScoreColumns:
    """All scores of a dataset, or those of `limit` samples drawn at random, as numpy arrays in review order.

    The draw is the same each time. No Python object is kept per row.
    """
    ranks = Ranks(conn, dataset_id, scorer_id)
    n = conn.execute(select(ranks.total())).scalar_one()
    n = n if limit is None else min(n, limit)
    query = select(scores.c.sample_id, *(scores.c[name] for name in _NUMBERS)).where(ranks.scored).limit(n)
    if limit is not None:
        query = _drawn(query, dataset_id)
    table = np.empty((1 + len(_NUMBERS), n))  # whole numbers are exact in float64 up to 2**53
    filled = 0
    with conn.execute(query, execution_options={"yield_per": _BLOCK}) as result:
        for block in result.partitions():
            table[:, filled : filled + len(block)] = np.array([tuple(row) for row in block]).T
            filled += len(block)
    table = table[:, :filled]
    pk, risk = table[0], table[1]
    table = table[:, np.lexsort((pk, -risk))]
    columns = dict(zip(_NUMBERS, table[1:], strict=True))
    whole = {name: columns.pop(name).astype(np.int64) for name in ("n_tokens", "n_answer_tokens")}
    return ScoreColumns(pk=table[0].astype(np.int64), **columns, **whole)


def ranked_samples(
    conn: Connection,
    dataset_id: int,
    scorer_id: int,
    limit: int | None = None,
    subset: Literal["riskiest", "random"] = "riskiest",
) -> Iterator[tuple[int, Sample, float]]:
    """(pk, sample, risk) as a stream in review order: all samples, or `limit` of them.

    The `limit` riskiest, or as many drawn at random: the same ones as `score_columns` draws, so that both
    line up.
    """
    chosen: sa.Select[*tuple[Any, ...]] = select(scores.c.sample_id, scores.c.risk).where(
        Ranks(conn, dataset_id, scorer_id).scored
    )
    if limit is not None and subset == "random":
        chosen = _drawn(chosen, dataset_id)
    elif limit is not None:
        chosen = chosen.order_by(scores.c.risk.desc(), scores.c.sample_id)
    picked = chosen.limit(limit).subquery()
    query = (
        select(picked.c.sample_id, samples.c.body, picked.c.risk)
        .join(samples, samples.c.id == picked.c.sample_id)
        .order_by(picked.c.risk.desc(), picked.c.sample_id)
    )
    with conn.execute(query, execution_options={"yield_per": _BODIES}) as result:
        for pk, body, risk in result:
            yield pk, Sample.from_json(body), risk


def ranked_ids(conn: Connection, dataset_id: int, scorer_id: int) -> Iterator[str]:
    """Content hashes of all scored samples as a stream in review order, as `score_columns` has them."""
    query = (
        select(samples.c.content_hash)
        .join(scores, scores.c.sample_id == samples.c.id)
        .where(Ranks(conn, dataset_id, scorer_id).scored)
        .order_by(scores.c.risk.desc(), scores.c.sample_id)
    )
    with conn.execute(query, execution_options={"yield_per": _BLOCK}) as result:
        yield from result.scalars()


def _drawn(query: sa.Select[*tuple[Any, ...]], dataset_id: int) -> sa.Select[*tuple[Any, ...]]:
    """Put a query of scores in order of content hash: a shuffle that an index holds ready."""
    of_score = sa.and_(samples.c.id == scores.c.sample_id, samples.c.dataset_id == dataset_id)
    return query.join(samples, of_score).order_by(samples.c.content_hash)
