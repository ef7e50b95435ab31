"""The announce reconciler: whoever asked to hear of new risky samples is told of those that were not announced yet.

At least once: a message is written to the ledger before it is sent, and sent again, the same under the same id, until
the receiver has accepted it. A receiver that fails is held back for longer and longer and never given up; meanwhile
samples gather, and go out together.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine

from curation.errors import DeliveryError
from curation.ledger import hooks
from curation.ledger.engine import reading
from curation.ledger.hooks import Hook, News
from curation.ledger.items import scorer_to_show
from curation.ledger.queue import count_states
from curation.ledger.ranks import Ranks
from curation.ledger.samples import list_datasets
from curation.ledger.scores import scorer_by_id
from curation.settings import Settings
from curation.triage import TierPolicy
from curation.webhooks import deliver

MOST = 500
"""Samples named in one message: about 80 kB. What is left goes into the next ones."""

SETTLED = 0.95
"""Part of a dataset that must be gone through first: ranks are among what is scored, so the first look risky."""

LOOK_SECONDS = 60.0
"""How long one look may keep the others away from a hook, renewed with every message."""

KIND = "samples.risky"
"""Type of the messages that announce samples."""

log = logging.getLogger(__name__)


@dataclass
class Announced:
    """What one look at one hook did. `trouble`: why its last try failed; None: nothing is left to tell."""

    messages: int = 0
    samples: int = 0
    trouble: str | None = None


def announce_all(engine: Engine, settings: Settings) -> list[tuple[Hook, Announced]]:
    """Look at every hook that is not held back. A receiver's failure is noted at its hook and stops nothing."""
    with reading(engine) as conn:
        known = hooks.list_hooks(conn)
    return [(hook, announce(engine, hook.id, settings)) for hook in known if not hook.held]


def announce(engine: Engine, hook_id: int, settings: Settings) -> Announced:
    """Tell one hook what it was not told yet. Raises LedgerError for what cannot be read or noted."""
    done = Announced()
    while hooks.claim(engine, hook_id, LOOK_SECONDS):
        with reading(engine) as conn:
            hook, message = hooks.hook_by_id(conn, hook_id), hooks.next_message(conn, hook_id)
        if message is None:
            written = _write(engine, hook, settings.tiers)
            done.samples += written
            hooks.release(engine, hook_id)
            if written:
                continue
            break
        try:
            deliver(hook.url, hook.secret, message.name, message.body, private=settings.hooks_private)
        except DeliveryError as error:
            log.warning("hook %d: %s", hook_id, error.message)
            hooks.failed(engine, hook_id, hook.failures, error.message)
            done.trouble = error.message
            break
        hooks.delivered(engine, hook_id, message)
        done.messages += 1
    return done


def _write(engine: Engine, hook: Hook, policy: TierPolicy) -> int:
    """Write a message for each dataset with news; returns how many samples they are about."""
    written = 0
    with reading(engine) as conn:
        watched = [d for d in list_datasets(conn) if hook.dataset_id in (None, d.id)]
    for dataset in watched:
        with reading(engine) as conn:
            scorer_id = scorer_to_show(conn, dataset.id)
            if scorer_id is None or not _settled(conn, dataset.id, scorer_id):
                continue
            fingerprint = scorer_by_id(conn, scorer_id).fingerprint
            found = hooks.news(conn, hook, dataset.id, scorer_id, policy, MOST)

        def data(
            new: Sequence[News], dataset: str = dataset.name, scorer: str = fingerprint
        ) -> dict[str, Any]:
            return {"dataset": dataset, "scorer": scorer, **_named(new)}

        written += hooks.put_news(engine, hook.id, KIND, found, data)
    return written


def _named(new: Sequence[News]) -> dict[str, Any]:
    """Counts and samples by their ids, none of their text."""
    listed = [
        {
            "id": one.content_hash,
            "state": one.state,
            "tier": one.tier,
            "percentile": None if one.percentile is None else round(one.percentile, 3),
            "risk": one.risk,
        }
        for one in new
    ]
    return {"counts": dict(Counter(one.tier or one.state for one in new)), "samples": listed}


def _settled(conn: Connection, dataset_id: int, scorer_id: int) -> bool:
    n_samples, n_scored, n_held = count_states(Ranks(conn, dataset_id, scorer_id))
    return n_scored + n_held >= SETTLED * n_samples
