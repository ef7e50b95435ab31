"""One look at one target, by whoever rings: what went wrong is noted where `curation status` shows it."""

from __future__ import annotations

from functools import partial

from sqlalchemy import Engine

from curation.errors import InputError, PlatformError
from curation.ledger.engine import reading, writing
from curation.ledger.items import drop_items, mark_gone, remote_ids
from curation.ledger.targets import Target, hold, set_trouble
from curation.platforms.contract import Finding, Platform
from curation.platforms.opening import open_platform
from curation.reconcile.pull import Pulled, pull
from curation.reconcile.push import Pushed, Told, push
from curation.settings import Settings


def sync_target(
    engine: Engine,
    target_id: int,
    settings: Settings,
    *,
    at_once: bool = False,
    told: Told = lambda what, done, total: None,
) -> Pushed:
    """Pull, then push. Raises what `push` raises."""
    opener = partial(_open, settings)
    try:
        done = push(
            engine, target_id, opener, settings.tiers, settings.lease_seconds, at_once=at_once, told=told
        )
    except (PlatformError, InputError) as error:
        set_trouble(engine, target_id, error.message)
        raise
    set_trouble(engine, target_id, _trouble(done))
    return done


def pull_target(engine: Engine, target_id: int, settings: Settings) -> Pulled:
    """Pull alone. Raises what `pull` raises."""
    try:
        with hold(engine, target_id, settings.lease_seconds) as held:
            return pull(held, open_platform(held.target, settings))
    except (PlatformError, InputError) as error:
        set_trouble(engine, target_id, error.message)
        raise


def examine_target(engine: Engine, target_id: int, settings: Settings, *, repair: bool) -> list[Finding]:
    """Check what the order of a target depends on, and mend it if wanted.

    Items that somebody deleted on the platform are counted; `repair` lets the next push make them anew.
    """
    with hold(engine, target_id, settings.lease_seconds) as held:
        platform = open_platform(held.target, settings)
        with reading(engine) as conn:
            live, gone = remote_ids(conn, target_id, gone=False), remote_ids(conn, target_id, gone=True)
        there = platform.present([*live, *gone])
        missing = [remote_id for remote_id in live if remote_id not in there]
        returned = [remote_id for remote_id in gone if remote_id in there]
        lost = len(missing) + len(gone) - len(returned)
        says = f"{len(live) - len(missing):,} there, {lost:,} deleted on the platform"
        if repair and lost:
            with writing(engine) as conn:
                held.fence(conn)
                drop_items(conn, target_id, [i for i in (*missing, *gone) if i not in there])
            says += ": the next `curation sync` makes those anew that are undecided"
        with writing(engine) as conn:
            held.fence(conn)
            mark_gone(conn, target_id, returned, gone=False)
        found = [Finding("items", not missing or repair, says, repaired=repair and bool(lost))]
        found += platform.examine(held.target.shown, len(live) - len(missing), repair=repair)
    return found


def _open(settings: Settings, target: Target) -> Platform:
    return open_platform(target, settings)


def _trouble(done: Pushed) -> str | None:
    unusable = done.pulled.unusable
    said = [f"{len(unusable):,} items hold no sample, such as {next(iter(unusable))}"] if unusable else []
    return "; ".join([*said, *done.problems[:2]]) or None
