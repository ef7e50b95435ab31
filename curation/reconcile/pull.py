"""The pull reconciler: whatever was changed or decided on a platform is in the ledger.

It reads from where it last came to, with some overlap, and keeps batch after batch before it moves on. All it keeps
is keyed by what it is, so reading the same twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from curation.ledger import clock
from curation.ledger.decisions import Decision, NewDecision, decisions_on, record_decisions
from curation.ledger.engine import reading, writing
from curation.ledger.items import Item, NewItem, items_by_remote_id, pks_of, put_items, shows_elsewhere
from curation.ledger.samples import add_samples, list_occurrences
from curation.ledger.targets import Hold, Target
from curation.platforms.contract import Answer, Platform, RemoteItem
from curation.samples.sample import Sample, Source

_TICK = timedelta(microseconds=1)


@dataclass
class Pulled:
    """What one pull brought. `unusable` items hold no sample; `outdated` answers were given on another text."""

    items: int = 0
    new_items: int = 0
    edited: int = 0
    decisions: int = 0
    outdated: int = 0
    unusable: dict[str, str] = field(default_factory=dict[str, str])


def pull(hold: Hold, platform: Platform) -> Pulled:
    """Keep everything that changed on the target's platform since the last pull.

    Raises PlatformError, LedgerError, or TargetBusy if another process took the target over.
    """
    done = Pulled()
    for items, cursor in platform.changes(hold.target.cursor):
        _keep(hold, items, done)
        hold.note(cursor=cursor)
    hold.note(pulled_at=clock.in_seconds(0.0))
    return done


def _keep(hold: Hold, batch: Sequence[RemoteItem], done: Pulled) -> None:
    engine, target = hold.engine, hold.target
    latest = {
        item.remote_id: item for item in batch
    }  # of one that is in the batch twice the newer state counts
    usable = {key: item for key, item in latest.items() if item.sample is not None}
    done.unusable |= {key: item.problem or "no sample" for key, item in latest.items() if item.sample is None}
    with reading(engine) as conn:
        known = items_by_remote_id(conn, target.id, latest.keys())
    edited = {k for k, item in usable.items() if k in known and _text(item) != known[k].content_hash}
    new = usable.keys() - known.keys()
    _ingest(engine, target, [usable[key] for key in usable if key in new or key in edited], known)
    with reading(engine) as conn:
        pks = pks_of(conn, target.dataset_id, {_text(item) for item in usable.values()})
    since = {key: usable[key].updated_at if key in edited else None for key in new | edited}
    since |= {key: old.text_since for key, old in known.items() if key in usable and key not in edited}
    touched = [
        key for key in usable if key in since and (key not in known or key in edited or known[key].gone)
    ]
    with writing(engine) as conn:
        hold.fence(conn)
        put_items(conn, target, [NewItem(key, pks[_text(usable[key])], since[key]) for key in touched])
    done.items += len(latest)
    done.new_items += len(new)
    done.edited += len(edited)
    _decide(engine, target, list(usable.values()), pks, since, done)


def _ingest(engine: Engine, target: Target, batch: Sequence[RemoteItem], known: dict[str, Item]) -> None:
    """Add texts that the dataset lacks.

    A text that was changed on the platform takes the place of the old one on every line that held it, unless another
    item still shows the old one: the reviewer corrected that row. An item that nobody knew, and whose text the dataset
    has, is one of ours whose creation was not answered, or a copy: it adds no line.
    """
    fresh: list[Sample] = []
    with reading(engine) as conn:
        seen = set(pks_of(conn, target.dataset_id, {_text(item) for item in batch}))
        for item in batch:
            assert item.sample is not None
            own = Source(f"{source_of(target)}/{item.remote_id}", 1)
            if old := known.get(item.remote_id):
                shared = shows_elsewhere(conn, target.id, old.sample_pk, item.remote_id)
                for line in list_occurrences(conn, old.sample_pk):
                    if not shared or line.file == own.file:
                        source = Source(line.file, line.line)
                        fresh.append(replace(item.sample, source=source, metadata=line.metadata))
                        seen.add(_text(item))
            if _text(item) not in seen:
                fresh.append(replace(item.sample, source=own))
                seen.add(_text(item))
    if fresh:
        add_samples(engine, target.dataset, fresh)


def _decide(
    engine: Engine,
    target: Target,
    batch: Sequence[RemoteItem],
    pks: dict[str, int],
    since: dict[str, datetime | None],
    done: Pulled,
) -> None:
    with reading(engine) as conn:
        recorded = decisions_on(conn, target.dataset_id, list(pks.values()))
    made: list[NewDecision] = []
    for item in batch:
        begin = since.get(item.remote_id)
        valid = [a for a in item.answers if begin is None or a.decided_at > begin]
        done.outdated += len(item.answers) - len(valid)
        made += [_decision(target, item, answer) for answer in valid]
        made += _withdrawals(target, item, valid, recorded.get(pks[_text(item)], []))
    done.decisions += record_decisions(engine, target.dataset_id, made)


def _withdrawals(
    target: Target, item: RemoteItem, valid: Sequence[Answer], recorded: Sequence[Decision]
) -> list[NewDecision]:
    """What takes back answers that are no longer there.

    A reviewer's last word counts, so one who gave two answers and deleted one of them says the other again.
    """
    present = {_name(item, answer.remote_id) for answer in valid}
    last: dict[str, Decision] = {}
    for decision in sorted(recorded, key=lambda d: d.decided_at):
        if decision.source == source_of(target) and decision.remote_id.startswith(f"{item.remote_id}/"):
            last[decision.remote_id] = decision
    made: list[NewDecision] = []
    for name, decision in last.items():
        if name in present or decision.verdict == "withdraw":
            continue
        at = max(item.updated_at, decision.decided_at.astimezone(UTC) + _TICK)
        made.append(
            NewDecision(
                _text(item), "withdraw", decision.reviewer, source_of(target), remote_id=name, decided_at=at
            )
        )
        made += [
            replace(_decision(target, item, answer), decided_at=at + _TICK)
            for answer in valid
            if answer.reviewer == decision.reviewer
        ]
    return made


def _decision(target: Target, item: RemoteItem, answer: Answer) -> NewDecision:
    return NewDecision(
        _text(item), answer.verdict, answer.reviewer, source_of(target), answer.reason, answer.note,
        _name(item, answer.remote_id), answer.decided_at,
    )  # fmt: skip


def source_of(target: Target) -> str:
    """Where decisions from a target are said to come from."""
    return f"{target.platform}:{target.name}"


def _name(item: RemoteItem, answer_id: str) -> str:
    return f"{item.remote_id}/{answer_id}"


def _text(item: RemoteItem) -> str:
    assert item.sample is not None
    return item.sample.id
