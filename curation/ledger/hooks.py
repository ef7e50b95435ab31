"""Outgoing webhooks: who is told of new risky samples, what each was told of, and the messages on their way.

What is to be told is worked out anew at every look: risky or quarantined now, and not announced yet. A message and
the samples it announces are written together before it is sent, so a process that is killed in between loses nothing,
and whoever sends it again sends the same text under the same id.
"""

from __future__ import annotations

import base64
import secrets
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from curation.errors import LedgerError
from curation.ledger import clock
from curation.ledger.engine import writing
from curation.ledger.ranks import Ranks
from curation.ledger.risky import top_scores
from curation.ledger.scores import still_held
from curation.ledger.tables import announced, datasets, hooks, messages, quarantine, samples
from curation.triage import Tier, TierPolicy, percentile

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 3600.0
"""Seconds that an address is left in peace after a failure; they double with every further one."""


@dataclass(frozen=True, slots=True)
class Hook:
    """An address that is told of samples of `tier` and riskier, of one dataset or (None) of all.

    `failures` in a row and the `trouble` of the last one; `held`: it is left in peace for a while, or somebody is at
    it. `waiting` counts messages not delivered yet; the seconds since the last look and delivery, None: never.
    """

    id: int
    url: str
    dataset_id: int | None
    dataset: str | None
    tier: Tier
    secret: str
    failures: int
    trouble: str | None
    held: bool
    waiting: int
    since_look: float | None
    since_delivery: float | None
    created_at: datetime


class News(NamedTuple):
    """A sample to announce; rank and risk are None if it is quarantined. Higher risk = riskier."""

    sample_pk: int
    content_hash: str
    risk: float | None = None
    percentile: float | None = None
    tier: Tier | None = None

    @property
    def state(self) -> str:
        return "quarantined" if self.tier is None else "scored"


class Message(NamedTuple):
    """What is sent: the same `name` and `body` at every try."""

    id: int
    name: str
    body: str


def add_hook(engine: Engine, url: str, dataset_id: int | None, tier: Tier) -> tuple[int, str]:
    """Keep an address; returns its number and the secret that its messages are signed with, shown this once."""
    secret = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    row = {"url": url, "dataset_id": dataset_id, "tier": tier, "secret": secret}
    with writing(engine) as conn:
        made = conn.execute(hooks.insert().values(row).returning(hooks.c.id)).scalar_one()
    return made, secret


def list_hooks(conn: Connection) -> list[Hook]:
    """All hooks, oldest first."""
    return [Hook(*row) for row in conn.execute(_query().order_by(hooks.c.id))]


def hook_by_id(conn: Connection, hook_id: int) -> Hook:
    """The hook of that number. Raises LedgerError if there is none."""
    row = conn.execute(_query().where(hooks.c.id == hook_id)).one_or_none()
    if row is None:
        raise LedgerError(f"there is no hook number {hook_id}", "`curation hooks list` shows them.")
    return Hook(*row)


def remove_hook(engine: Engine, hook_id: int) -> None:
    """Forget a hook, what it was told of, and what it was not told yet. Raises LedgerError if there is none."""
    with writing(engine) as conn:
        hook_by_id(conn, hook_id)
        for table in (announced, messages):
            conn.execute(table.delete().where(table.c.hook_id == hook_id))
        conn.execute(hooks.delete().where(hooks.c.id == hook_id))


def claim(engine: Engine, hook_id: int, seconds: float) -> bool:
    """Whether this process is the one to look at a hook now; nobody else is, for so many seconds."""
    free = sa.or_(hooks.c.due_at.is_(None), hooks.c.due_at <= clock.in_seconds(0.0))
    taken = hooks.update().where(hooks.c.id == hook_id, free)
    taken = taken.values(due_at=clock.in_seconds(seconds), looked_at=clock.in_seconds(0.0))
    with writing(engine) as conn:
        return bool(conn.execute(taken).rowcount)


def release(engine: Engine, hook_id: int) -> None:
    """The look is over and nothing is left to send."""
    with writing(engine) as conn:
        conn.execute(hooks.update().where(hooks.c.id == hook_id).values(due_at=None))


def news(
    conn: Connection, hook: Hook, dataset_id: int, scorer_id: int, policy: TierPolicy, limit: int
) -> list[News]:
    """Up to `limit` samples that the hook is to be told of: quarantined ones, then the riskiest first."""
    ranks = Ranks(conn, dataset_id, scorer_id)
    pks = (
        select(quarantine.c.sample_id)
        .where(still_held(dataset_id, scorer_id), _untold(hook.id, quarantine.c.sample_id, "quarantined"))
        .order_by(quarantine.c.sample_id)
        .limit(limit)
    )
    held = select(samples.c.id, samples.c.content_hash).where(samples.c.id.in_(pks)).order_by(samples.c.id)
    found = [News(*row) for row in conn.execute(held)]
    top = top_scores(ranks, policy, hook.tier)
    if top is None:
        return found
    query = (
        select(samples.c.id, samples.c.content_hash, top.c.risk, top.c.above)
        .join_from(top, samples, samples.c.id == top.c.sample_id)
        .where(_untold(hook.id, samples.c.id, "scored"))
        .order_by(top.c.above, samples.c.id)
        .limit(limit - len(found))
    )
    n = conn.execute(select(ranks.total())).scalar_one()
    for pk, content_hash, risk, place in conn.execute(query):
        at = percentile(place, n)
        found.append(News(pk, content_hash, risk, at, policy.tier(at)))
    return found


def put_news(
    engine: Engine, hook_id: int, kind: str, found: Sequence[News], data: Callable[[Sequence[News]], Any]
) -> int:
    """Write one message that announces samples, and that they are announced; returns how many it is about.

    Those that somebody else has announced meanwhile are left out; if none is left there is no message.
    """
    with writing(engine) as conn:
        # One writer at a time per hook, whatever became of its claim.
        conn.execute(hooks.update().where(hooks.c.id == hook_id).values(looked_at=clock.in_seconds(0.0)))
        here = announced.c.hook_id == hook_id, announced.c.sample_id.in_([one.sample_pk for one in found])
        rows = conn.execute(select(announced.c.sample_id, announced.c.state).where(*here))
        known = {(row.sample_id, row.state) for row in rows}
        new = [one for one in found if (one.sample_pk, one.state) not in known]
        if new:
            told = [{"hook_id": hook_id, "sample_id": one.sample_pk, "state": one.state} for one in new]
            conn.execute(announced.insert(), told)
            _put(conn, hook_id, kind, data(new))
    return len(new)


def put_message(engine: Engine, hook_id: int, kind: str, data: Any) -> None:
    """Write one message of another kind, to be sent in its turn."""
    with writing(engine) as conn:
        _put(conn, hook_id, kind, data)


def next_message(conn: Connection, hook_id: int) -> Message | None:
    """The oldest message of a hook that is not delivered yet."""
    query = select(messages.c.id, messages.c.name, messages.c.body).where(messages.c.hook_id == hook_id)
    row = conn.execute(query.order_by(messages.c.id).limit(1)).one_or_none()
    return Message(*row) if row is not None else None


def delivered(engine: Engine, hook_id: int, message: Message) -> None:
    """The message has arrived; the next one may follow at once."""
    values = {"failures": 0, "trouble": None, "delivered_at": clock.in_seconds(0.0), "due_at": None}
    with writing(engine) as conn:
        conn.execute(messages.delete().where(messages.c.id == message.id))
        conn.execute(hooks.update().where(hooks.c.id == hook_id).values(values))


def failed(engine: Engine, hook_id: int, failures: int, trouble: str) -> None:
    """A try has failed, with so many failures in a row before it: the address is left in peace for a while."""
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures, 20))
    values = {"failures": failures + 1, "trouble": trouble, "due_at": clock.in_seconds(pause)}
    with writing(engine) as conn:
        conn.execute(hooks.update().where(hooks.c.id == hook_id).values(values))


def _put(conn: Connection, hook_id: int, kind: str, data: Any) -> None:
    now: datetime = conn.execute(select(clock.in_seconds(0.0))).scalar_one()
    body = {"type": kind, "timestamp": now.astimezone(UTC).isoformat(), "data": data}
    text = orjson.dumps(body).decode()
    conn.execute(messages.insert().values(hook_id=hook_id, name=f"msg_{uuid.uuid4().hex}", body=text))


def _untold(hook_id: int, sample_pk: sa.Column[int], state: str) -> sa.ColumnElement[bool]:
    told = sa.exists().where(
        announced.c.hook_id == hook_id, announced.c.sample_id == sample_pk, announced.c.state == state
    )
    return ~told


def _query() -> sa.Select[*tuple[Any, ...]]:
    of_hook = messages.c.hook_id == hooks.c.id
    waiting = select(sa.func.count()).select_from(messages).where(of_hook).correlate(hooks).scalar_subquery()
    held = sa.and_(hooks.c.due_at.is_not(None), hooks.c.due_at > clock.in_seconds(0.0))
    return select(
        hooks.c.id,
        hooks.c.url,
        hooks.c.dataset_id,
        datasets.c.name,
        hooks.c.tier,
        hooks.c.secret,
        hooks.c.failures,
        hooks.c.trouble,
        held,
        waiting,
        clock.seconds_since(hooks.c.looked_at),
        clock.seconds_since(hooks.c.delivered_at),
        hooks.c.created_at,
    ).join_from(hooks, datasets, isouter=True)
