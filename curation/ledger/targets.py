"""Targets: a project or dataset on a labeling platform where a dataset of the ledger is reviewed.

One process at a time works on a target: it holds a lease, renews it while it works, and every note it makes of how
far it came asks for the lease's token. A process that was killed is out of the way once its lease has run out, and by
then its last request to the platform has been answered too.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, select

from curation.errors import InputError, LedgerError
from curation.ledger import clock
from curation.ledger.engine import writing
from curation.ledger.tables import datasets, items, targets


class TargetBusy(LedgerError):  # noqa: N818 - a state that passes
    """Somebody else is at work on the target."""


@dataclass(frozen=True, slots=True)
class Target:
    """`options` is the platform's own: how its fields and answers are to be read. `shown` names the order shown.

    `held`: somebody is at work on it; `rung`: somebody asked for a look; `may_show`: it may take a new order now. The
    seconds since the last look, which may have failed, and since the last whole pull and push; None: never.
    """

    id: int
    name: str
    platform: str
    dataset_id: int
    dataset: str
    url: str
    project: str
    options: Mapping[str, Any]
    cursor: str | None
    scorer_id: int | None
    shown: str | None
    trouble: str | None
    front: bool
    held: bool
    may_show: bool
    rung: bool
    since_look: float | None
    since_pull: float | None
    since_push: float | None
    connected_at: datetime


def add_target(
    engine: Engine,
    name: str,
    platform: str,
    dataset_id: int,
    url: str,
    project: str,
    options: Mapping[str, Any],
) -> None:
    """Keep a target. The same project again changes how it is read, and keeps what is known of its items.

    Raises InputError if the name is another target's, or the project shows another dataset.
    """
    if not name.strip() or not name.isprintable() or "/" in name:
        raise InputError(
            f"{name!r:.40} is not a name for a target", "Use printable characters without a slash."
        )
    body = json.dumps(dict(options))
    with writing(engine) as conn:
        same = targets.c.platform == platform, targets.c.url == url, targets.c.project == project
        known = conn.execute(select(targets.c.id, targets.c.dataset_id).where(*same)).one_or_none()
        if known and known.dataset_id != dataset_id:
            raise InputError(
                f"{platform} project {project} is connected to another dataset",
                "Forget that target first: curation targets forget NAME.",
            )
        if conn.execute(
            select(targets.c.id).where(targets.c.name == name, targets.c.id != (known.id if known else 0))
        ).first():
            raise InputError(f"there is a target named {name!r} already", "Give another one with --name.")
        if known:
            conn.execute(targets.update().where(targets.c.id == known.id).values(name=name, options=body))
        else:
            conn.execute(
                targets.insert().values(
                    name=name,
                    platform=platform,
                    dataset_id=dataset_id,
                    url=url,
                    project=project,
                    options=body,
                )
            )


def list_targets(conn: Connection) -> list[Target]:
    """All targets; those that were moved to the front first, then in order of their names."""
    rows = conn.execute(_query().order_by(targets.c.front.desc(), targets.c.name))
    return [_target(row) for row in rows]


def find_target(conn: Connection, name: str | None = None) -> Target:
    """The target of that name, or the only one. Raises LedgerError, naming those there are."""
    known = list_targets(conn)
    if name is None and len(known) == 1:
        return known[0]
    for target in known:
        if target.name == name:
            return target
    names = ", ".join(target.name for target in known)
    if not known:
        raise LedgerError(
            "no labeling platform is connected", "Connect one: curation connect label-studio --help"
        )
    if name is None:
        raise LedgerError(f"there are {len(known)} targets: {names}", "Name one of them.")
    raise LedgerError(f"there is no target {name!r}", f"Known targets: {names}.")


def target_by_id(conn: Connection, target_id: int) -> Target:
    """The target of that number. Raises LedgerError if there is none."""
    row = conn.execute(_query().where(targets.c.id == target_id)).one_or_none()
    if row is None:
        raise LedgerError(f"there is no target number {target_id}", "`curation targets list` shows them.")
    return _target(row)


def forget_target(engine: Engine, target_id: int) -> None:
    """Forget a target and its items. What the platform holds, and every decision from it, stays as it is."""
    with writing(engine) as conn:
        conn.execute(items.delete().where(items.c.target_id == target_id))
        conn.execute(targets.delete().where(targets.c.id == target_id))


@dataclass(frozen=True, slots=True)
class Hold:
    """A target that this process alone works on. Its notes raise TargetBusy once it has been taken over."""

    engine: Engine
    target: Target
    token: str
    seconds: float

    def note(self, **values: Any) -> None:
        """Keep how far the work came: columns of the target."""
        with writing(self.engine) as conn:
            self.fence(conn, **values)

    def fence(self, conn: Connection, **values: Any) -> None:
        """The same as part of a transaction, which must not go on if this raises."""
        mine = targets.c.id == self.target.id, targets.c.token == self.token
        until = clock.in_seconds(self.seconds)
        done = conn.execute(targets.update().where(*mine).values(leased_until=until, **values))
        if not done.rowcount:
            raise TargetBusy(
                f"another process has taken over the target {self.target.name}", "It goes on with it."
            )


@contextmanager
def hold(engine: Engine, target_id: int, seconds: float) -> Generator[Hold]:
    """Work on a target alone; `seconds` is how long others wait for a process that fell silent.

    No request that makes something on a platform may go unanswered for longer. Raises TargetBusy if somebody else is
    at work.
    """
    token = uuid.uuid4().hex
    free = sa.or_(targets.c.token.is_(None), targets.c.leased_until < clock.in_seconds(0.0))
    mine = targets.c.id == target_id, targets.c.token == token
    renewed = targets.update().where(*mine).values(leased_until=clock.in_seconds(seconds))
    with writing(engine) as conn:
        taken = targets.update().where(targets.c.id == target_id, free)
        now = clock.in_seconds(0.0)
        taken = taken.values(token=token, leased_until=clock.in_seconds(seconds), rung_at=None, looked_at=now)
        busy = not conn.execute(taken).rowcount
        target = target_by_id(conn, target_id)
    if busy:
        raise TargetBusy(
            f"another process is at work on the target {target.name}",
            f"Try again when it is done; if it was killed, in at most {seconds:.0f} s.",
        )
    over = threading.Event()

    def renew() -> None:
        while not over.wait(seconds / 4):
            try:
                with writing(engine) as conn:
                    conn.execute(renewed)
            except LedgerError:
                continue  # the next note finds out

    thread = threading.Thread(target=renew, name="hold", daemon=True)
    thread.start()
    try:
        yield Hold(engine, target, token, seconds)
    finally:
        over.set()
        thread.join()
        with suppress(LedgerError), writing(engine) as conn:  # it must not take the place of what went wrong
            conn.execute(targets.update().where(*mine).values(token=None, leased_until=None))


def ring(engine: Engine, target_id: int) -> None:
    """Note that a target should be looked at soon: a webhook's whole effect."""
    with writing(engine) as conn:
        conn.execute(targets.update().where(targets.c.id == target_id).values(rung_at=clock.in_seconds(0.0)))


def move_target_to_front(engine: Engine, target_id: int) -> None:
    """Have one target looked at before the others."""
    with writing(engine) as conn:
        conn.execute(targets.update().values(front=targets.c.id == target_id))


def set_trouble(engine: Engine, target_id: int, trouble: str | None) -> None:
    """Note what keeps a target from being brought up to date, None: nothing does."""
    with writing(engine) as conn:
        conn.execute(targets.update().where(targets.c.id == target_id).values(trouble=trouble))


class Hook(NamedTuple):
    """What a target's webhooks are known by. The secret is worth no more than a bell."""

    target_id: int
    platform: str
    secret: str


def set_hook(engine: Engine, target_id: int, secret: str) -> None:
    """Keep the secret that webhooks of a target are known by; kept as it is, since signatures are checked with it."""
    with writing(engine) as conn:
        conn.execute(targets.update().where(targets.c.id == target_id).values(hook_secret=secret))


def find_hook(conn: Connection, name: str) -> Hook | None:
    """The webhook of the target of that name, None if it has none."""
    query = select(targets.c.id, targets.c.platform, targets.c.hook_secret)
    row = conn.execute(query.where(targets.c.name == name, targets.c.hook_secret.is_not(None))).one_or_none()
    return Hook(*row) if row is not None else None


def _query() -> sa.Select[*tuple[Any, ...]]:
    now = clock.in_seconds(0.0)
    held = sa.and_(targets.c.token.is_not(None), targets.c.leased_until >= now)
    may_show = sa.or_(targets.c.show_after.is_(None), targets.c.show_after <= now)
    return select(
        targets,
        datasets.c.name.label("dataset"),
        held.label("held"),
        may_show.label("may_show"),
        targets.c.rung_at.is_not(None).label("rung"),
        clock.seconds_since(targets.c.looked_at).label("since_look"),
        clock.seconds_since(targets.c.pulled_at).label("since_pull"),
        clock.seconds_since(targets.c.pushed_at).label("since_push"),
    ).join_from(targets, datasets)


def _target(row: sa.Row[Any]) -> Target:
    given = {name: getattr(row, name) for name in Target.__slots__ if name != "options"}
    return Target(**given, options=json.loads(row.options))
