"""Items: which task or record of a target shows which sample, and which samples ought to be shown next."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, select

from curation.ledger import bulk, clock
from curation.ledger.decisions import last_word_is
from curation.ledger.queue import State, count_states, unscored
from curation.ledger.ranks import Ranks
from curation.ledger.samples import StoredSample
from curation.ledger.scores import still_held
from curation.ledger.tables import items, occurrences, quarantine, samples, scorers, scores, targets
from curation.ledger.targets import Target
from curation.samples.sample import Sample

_CHUNK = 1000


class Item(NamedTuple):
    """A task or record that shows a sample. `text_since`: when its text was changed on the platform, if it was."""

    remote_id: str
    sample_pk: int
    content_hash: str
    text_since: datetime | None
    gone: bool


class Scored(NamedTuple):
    """What a scorer said of a sample; the numbers are None unless the state is "scored"."""

    state: State
    risk: float | None
    danger: float | None
    safety: float | None


class PlacedItem(NamedTuple):
    """A live item with what its place in the queue depends on, and what the platform was last told to display."""

    remote_id: str
    sample_pk: int
    scored: Scored
    shown: str | None


def items_by_remote_id(conn: Connection, target_id: int, remote_ids: Collection[str]) -> dict[str, Item]:
    """The known ones among some thousands of remote ids."""
    query = (
        select(
            items.c.remote_id, items.c.sample_id, samples.c.content_hash, items.c.text_since, items.c.gone_at
        )
        .join(samples, samples.c.id == items.c.sample_id)
        .where(items.c.target_id == target_id, items.c.remote_id.in_(remote_ids))
    )
    return {row.remote_id: Item(*row[:4], row.gone_at is not None) for row in conn.execute(query)}


class NewItem(NamedTuple):
    """What an item shows now. `text_since`: see `Item`; `shown`: see `PlacedItem`."""

    remote_id: str
    sample_pk: int
    text_since: datetime | None = None
    shown: str | None = None


def put_items(conn: Connection, target: Target, rows: Sequence[NewItem]) -> None:
    """Note which sample each item shows, whether it is new or was known as another's."""
    if not rows:
        return
    insert = bulk.insert(conn, items)
    found = insert.excluded
    values = [
        {
            "target_id": target.id,
            "remote_id": row.remote_id,
            "dataset_id": target.dataset_id,
            "sample_id": row.sample_pk,
            "text_since": row.text_since,
            "shown": row.shown,
        }
        for row in rows
    ]
    changed = {name: found[name] for name in ("sample_id", "text_since", "shown")} | {"gone_at": None}
    conn.execute(
        insert.on_conflict_do_update(index_elements=["target_id", "remote_id"], set_=changed), values
    )


def places_of(conn: Connection, dataset_id: int, pks: Sequence[int]) -> dict[int, list[tuple[int, str]]]:
    """(target, remote id) of the live items that show these samples (at most some thousands), by sample."""
    of_dataset = select(targets.c.id).where(targets.c.dataset_id == dataset_id)
    query = select(items.c.sample_id, items.c.target_id, items.c.remote_id).where(
        items.c.target_id.in_(of_dataset), items.c.sample_id.in_(pks), items.c.gone_at.is_(None)
    )
    found: dict[int, list[tuple[int, str]]] = {}
    for pk, target_id, remote_id in conn.execute(query.order_by(items.c.target_id, items.c.remote_id)):
        found.setdefault(pk, []).append((target_id, remote_id))
    return found


def shows_elsewhere(conn: Connection, target_id: int, sample_pk: int, remote_id: str) -> bool:
    """Whether another live item of the target shows the sample too."""
    others = sa.exists().where(
        _live(target_id), items.c.sample_id == sample_pk, items.c.remote_id != remote_id
    )
    return bool(conn.execute(select(others)).scalar_one())


def mark_gone(conn: Connection, target_id: int, remote_ids: Sequence[str], *, gone: bool = True) -> None:
    """Note that items are no longer on the platform, or there again."""
    when = clock.in_seconds(0.0) if gone else None
    for start in range(0, len(remote_ids), _CHUNK):
        here = items.c.target_id == target_id, items.c.remote_id.in_(remote_ids[start : start + _CHUNK])
        conn.execute(items.update().where(*here).values(gone_at=when))


def remote_ids(conn: Connection, target_id: int, *, gone: bool) -> list[str]:
    """Items of a target that are on the platform as far as is known, or those that are gone from it."""
    where = items.c.gone_at.is_not(None) if gone else items.c.gone_at.is_(None)
    return list(
        conn.execute(select(items.c.remote_id).where(items.c.target_id == target_id, where)).scalars()
    )


def drop_items(conn: Connection, target_id: int, remote_ids: Sequence[str]) -> None:
    """Forget items, so that their samples may be shown anew."""
    for start in range(0, len(remote_ids), _CHUNK):
        some = remote_ids[start : start + _CHUNK]
        conn.execute(items.delete().where(items.c.target_id == target_id, items.c.remote_id.in_(some)))


def mark_shown(conn: Connection, target_id: int, shown: Mapping[str, str]) -> None:
    """Note what the platform displays of items now."""
    if not shown:
        return
    update = items.update().where(items.c.target_id == target_id, items.c.remote_id == sa.bindparam("id"))
    conn.execute(update.values(shown=sa.bindparam("text")), [{"id": k, "text": v} for k, v in shown.items()])


def live_items(conn: Connection, target: Target, scorer_id: int) -> list[PlacedItem]:
    """All live items of a target in the order of the queue: quarantined, not yet scored, then the riskiest first."""
    rank = sa.case((scores.c.risk.is_not(None), 2), (quarantine.c.reason.is_not(None), 0), else_=1)
    query = (
        select(items.c.remote_id, items.c.sample_id, items.c.shown, *_SCORED)
        .join_from(items, scores, _of_scorer(scores, scorer_id, items.c.sample_id), isouter=True)
        .join(quarantine, _of_scorer(quarantine, scorer_id, items.c.sample_id), isouter=True)
        .where(_live(target.id))
        .order_by(rank, scores.c.risk.desc(), items.c.sample_id, items.c.remote_id)
    )
    return [PlacedItem(row[0], row[1], Scored(*row[3:]), row[2]) for row in conn.execute(query)]


def scored_samples(
    conn: Connection, dataset_id: int, scorer_id: int, pks: Sequence[int]
) -> list[tuple[StoredSample, Scored]]:
    """Samples in the order of the given pks (at most some thousands), with what a scorer said of them."""
    query = (
        select(samples.c.id, samples.c.body, *_SCORED)
        .join_from(samples, scores, _of_scorer(scores, scorer_id, samples.c.id), isouter=True)
        .join(quarantine, _of_scorer(quarantine, scorer_id, samples.c.id), isouter=True)
        .where(samples.c.id.in_(pks))
    )
    found = {row.id: row for row in conn.execute(query)}
    return [
        (StoredSample(pk, dataset_id, Sample.from_json(found[pk].body)), Scored(*found[pk][2:])) for pk in pks
    ]


def next_to_show(conn: Connection, target: Target, scorer_id: int, head: int) -> list[int]:
    """Those of the first `head` undecided samples of the queue that the target never showed, in its order.

    Only samples that a line holds now are meant.
    """
    dataset_id = target.dataset_id
    ranks = Ranks(conn, dataset_id, scorer_id)

    def open_(column: sa.Column[int]) -> sa.ColumnElement[bool]:
        on_line = sa.exists().where(occurrences.c.dataset_id == dataset_id, occurrences.c.sample_id == column)
        return sa.and_(on_line, sa.not_(last_word_is(("approve", "reject"), sa.literal(dataset_id), column)))

    held = select(quarantine.c.sample_id).where(
        still_held(dataset_id, scorer_id), open_(quarantine.c.sample_id)
    )
    first = list(conn.execute(held.order_by(quarantine.c.sample_id).limit(head)).scalars())
    if len(first) < head:
        first += unscored(ranks, head - len(first), where=open_(samples.c.id))
    if len(first) < head:
        riskiest = select(scores.c.sample_id).where(ranks.scored, open_(scores.c.sample_id))
        riskiest = riskiest.order_by(scores.c.risk.desc(), scores.c.sample_id).limit(head - len(first))
        first += conn.execute(riskiest).scalars()
    # What somebody deleted there is not forced on them again: `curation doctor --repair` brings it back.
    known = set(conn.execute(select(items.c.sample_id).where(items.c.target_id == target.id)).scalars())
    return [pk for pk in first if pk not in known]


def samples_by_pk(conn: Connection, dataset_id: int, pks: Sequence[int]) -> list[StoredSample]:
    """Samples in the order of the given pks (at most some thousands)."""
    query = select(samples.c.id, samples.c.body).where(samples.c.id.in_(pks))
    bodies = {row.id: row.body for row in conn.execute(query)}
    return [StoredSample(pk, dataset_id, Sample.from_json(bodies[pk])) for pk in pks]


def pks_of(conn: Connection, dataset_id: int, hashes: Collection[str]) -> dict[str, int]:
    """Samples of a dataset by content hash (at most some thousands)."""
    query = select(samples.c.content_hash, samples.c.id).where(
        samples.c.dataset_id == dataset_id, samples.c.content_hash.in_(hashes)
    )
    return {row.content_hash: row.id for row in conn.execute(query)}


def scorer_to_show(conn: Connection, dataset_id: int) -> int | None:
    """The scorer that a target should show: of those with the fewest samples left, the newest. None: there is none.

    So a new scorer takes over once it is done, and reviewers never see a queue that is half in its order.
    """
    least: tuple[int, int] | None = None
    for scorer_id in conn.execute(select(scorers.c.id).order_by(scorers.c.id.desc())).scalars().all():
        n_samples, n_scored, n_held = count_states(Ranks(conn, dataset_id, scorer_id))
        left = n_samples - n_scored - n_held
        if least is None or left < least[0]:
            least = left, scorer_id
    return least[1] if least else None


_SCORED = (
    sa.case(
        (scores.c.risk.is_not(None), "scored"),
        (quarantine.c.reason.is_not(None), "quarantined"),
        else_="unscored",
    ),
    scores.c.risk,
    scores.c.danger,
    scores.c.safety,
)


def _of_scorer(table: sa.Table, scorer_id: int, sample_pk: sa.Column[int]) -> sa.ColumnElement[bool]:
    return sa.and_(table.c.scorer_id == scorer_id, table.c.sample_id == sample_pk)


def _live(target_id: int) -> sa.ColumnElement[bool]:
    return sa.and_(items.c.target_id == target_id, items.c.gone_at.is_(None))
