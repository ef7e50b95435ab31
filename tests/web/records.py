"""A ledger with a past: decisions in dispute, exports by two versions of a policy, and scorers and directions whose
cards, names and reasons were written to break a page."""

from __future__ import annotations

import json
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
from sqlalchemy import Engine

from curation.gate.export import export
from curation.gate.keys import load_private, new_pair
from curation.gate.policy import PolicyFile
from curation.ledger import add_samples, find_dataset, reading, register_scorer
from curation.ledger.decisions import NewDecision, Verdict, record_decisions
from curation.ledger.exports import NewExport, moment, record_export
from curation.ledger.fleet import known_scorers
from curation.ledger.tables import serving
from curation.samples.sample import Message, Sample, Source
from curation.sqsd.cards import CARD_FILE, CONFIG_FILE, SHIPPED
from tests.ledger.builders import pks_of, quarantine_sample, score_row, write_scores
from tests.report.hostile import PAYLOADS

DATASET, TRAPS = "support", "traps </script><img src=x onerror=alert(7)>"
SCORER, OLD, TRAP = "5c" * 32, "0d" * 32, "bad" + "0" * 61
NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
N = 120
TRAP_DIRECTION = "<img src=x onerror=alert('folder')>"


def keep_records(engine: Engine, home: Path) -> None:
    """Fill an empty ledger and its home."""
    shipped = {name: json.loads((SHIPPED / name / CARD_FILE).read_bytes()) for name in ("danger", "safety")}
    trap = {text[:40]: {text: [text, {text: text}]} for text in PAYLOADS} | {
        "directions": {PAYLOADS[0]: PAYLOADS[1]}
    }
    register_scorer(
        engine, TRAP, trap | {"model": {"name": PAYLOADS[1], "revision": PAYLOADS[5]}, "metric": PAYLOADS[0]}
    )
    card = {
        "method": "SQSD",
        "reads": "risk = danger - safety; higher = riskier",
        "model": {
            "name": "smollm2-aligned",
            "revision": "38d84e98f748b2bb1ca137c09a1f3bd6",
            "dtype": "float32",
        },
        "metric": "cosine",
        "update": "lora",
        "directions": {
            name: {"fingerprint": one["fingerprint"], "norm": 4.2} for name, one in shipped.items()
        },
        "states": {"danger": "e" * 64, "safety": None},
    }
    register_scorer(engine, OLD, card | {"metric": "dot"})
    scorer_id = register_scorer(engine, SCORER, card)
    with engine.begin() as conn:
        conn.execute(serving.insert().values(scorer_id=scorer_id))
    _directions(home)
    _review(engine, scorer_id)
    _leave(engine)
    _traps(engine)


def _directions(home: Path) -> None:
    for name, card in {
        "danger-v2": {
            "kind": "danger",
            "validation": {"confirmed": True, "verdict": "danger lowers the margin"},
        },
        TRAP_DIRECTION.replace("/", ""): {text[:40]: {text: text} for text in PAYLOADS}
        | {"kind": PAYLOADS[0]},
        "bare": None,
    }.items():
        folder = home / "directions" / name
        folder.mkdir(parents=True)
        (folder / CONFIG_FILE).write_text("{}")
        if card is not None:
            (folder / CARD_FILE).write_bytes(orjson.dumps(card))


def _review(engine: Engine, scorer_id: int) -> None:
    """The riskier half is decided on by two reviewers, who agree more often than not; the end by nobody."""
    samples = [
        Sample(
            (
                Message("user", f"How do I do thing {n}?"),
                Message("assistant", f"This is how to do thing {n}."),
            ),
            source=Source("support.jsonl", n),
        )
        for n in range(1, N + 1)
    ]
    add_samples(engine, DATASET, samples)
    with reading(engine) as conn:
        dataset_id = find_dataset(conn, DATASET).id
    pks = pks_of(engine, dataset_id)
    quarantine_sample(engine, scorer_id, pks[0], "too long")
    write_scores(engine, scorer_id, [score_row(pk, dataset_id, 12 - 0.2 * n) for n, pk in enumerate(pks[1:])])
    made: list[NewDecision] = []
    for n, sample in enumerate(samples[1 : N // 2]):
        verdict: Verdict = "reject" if n % 3 == 0 and n < 30 else "approve"
        at = NOON + timedelta(minutes=n)
        made.append(
            NewDecision(
                sample.id,
                verdict,
                "ana",
                "web",
                "gives away the steps" if verdict == "reject" else None,
                decided_at=at,
            )
        )
        other: Verdict = "approve" if n % 7 == 0 else verdict
        made.append(NewDecision(sample.id, other, "bo", "command line", decided_at=at + timedelta(seconds=5)))
    last = samples[1]
    made.append(NewDecision(last.id, "withdraw", "bo", "command line", decided_at=NOON + timedelta(hours=3)))
    record_decisions(engine, dataset_id, made)


def _leave(engine: Engine) -> None:
    """By a policy, and, signed, by one that was changed since."""
    policy = {"scorer": SCORER[:12], "rules": {"low": "approve"}}
    with tempfile.TemporaryDirectory() as name, reading(engine) as conn:
        folder = Path(name)
        dataset = find_dataset(conn, DATASET)
        export(engine, dataset, PolicyFile.model_validate(policy), "jsonl", folder / "first", "ana")
        changed = PolicyFile.model_validate(policy | {"decided_by": "majority", "rules": {"low": "pass"}})
        new_pair(folder / "release.key")
        key = load_private(folder / "release.key")
        export(engine, dataset, changed, "messages", folder / "second", "ana", key)


def _traps(engine: Engine) -> None:
    """Hostile text as a reviewer, an exporter or somebody in the database may write it."""
    samples = [
        Sample((Message("user", text), Message("assistant", text)), source=Source("traps.jsonl", n))
        for n, text in enumerate(PAYLOADS, start=1)
    ]
    add_samples(engine, TRAPS, samples)
    with reading(engine) as conn:
        dataset_id = find_dataset(conn, TRAPS).id
        now = moment(conn)
        scorer_id = next(scorer.id for scorer, _ in known_scorers(conn) if scorer.fingerprint == TRAP)
    pks = pks_of(engine, dataset_id)
    write_scores(engine, scorer_id, [score_row(pk, dataset_id, float(pk)) for pk in pks])
    made = [
        NewDecision(sample.id, verdict, reviewer, text, text, text, text, decided_at=NOON)
        for sample, text in zip(samples, PAYLOADS, strict=True)
        for reviewer, verdict in (
            ("\"><img src=x onerror=alert('who')>", "reject"),
            ("<script>alert(1)</script>", "approve"),
        )
    ]
    record_decisions(engine, dataset_id, made)  # type: ignore[arg-type]
    everything = " ".join(PAYLOADS)
    seal = {
        "content_sha256": PAYLOADS[0],
        "signed_with": PAYLOADS[1],
        "layout": everything,
        "trained": {PAYLOADS[0]: 3},
        "versions": {PAYLOADS[0]: everything},
        "rows": {"path": PAYLOADS[0], "bytes": 1, "sha256": PAYLOADS[1]},
        "data": [],
    }
    counts = {"lines": 9, "out": {PAYLOADS[0]: 4}, "samples": 3, "held": {PAYLOADS[1]: 5}}
    policy = json.dumps({"scorer": PAYLOADS[0], PAYLOADS[4]: everything})
    record_export(
        engine,
        NewExport(
            dataset_id,
            scorer_id,
            "e" * 64,
            policy,
            PAYLOADS[0],
            counts,
            "f" * 64,
            json.dumps(seal),
            everything,
            now,
            pks,
        ),
    )
