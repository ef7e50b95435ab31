"""The score reconciler: only what is missing, batch by batch, from any point it was killed at."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from curation.ledger.engine import connect, reading
from curation.ledger.overview import counts
from curation.ledger.samples import add_samples, find_dataset
from curation.ledger.tables import quarantine, scores
from curation.reconcile.score import score_dataset
from curation.samples.sample import Sample
from curation.sqsd.models import LoadedModel
from curation.sqsd.scorer import Scorer, Settings
from tests.sqsd.tiny import random_adapter, tiny_model, tiny_tokenizer


def make_scorer(metric: str = "cosine", budget: int = 300) -> Scorer:
    model = tiny_model("llama")
    loaded = LoadedModel(model, tiny_tokenizer(), "tiny", "0")
    adapters = [random_adapter(model, 2, seed=seed) for seed in (1, 2, 3)]
    return Scorer(loaded, *adapters, settings=Settings(metric=metric), token_budget=budget)  # type: ignore[arg-type]


def make_samples(n: int) -> list[Sample]:
    return [
        Sample.from_messages(
            [
                {"role": "user", "content": f"q{i}"},
                {"role": "assistant", "content": "word " * (i % 7) + f"a{i}"},
            ]
        )
        for i in range(n)
    ]


def table(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as conn:
        rows = conn.execute(
            sa.select(scores.c.scorer_id, scores.c.sample_id, scores.c.risk, scores.c.scored_at)
        )
        return sorted(tuple(row) for row in rows)


def test_running_twice_scores_only_what_is_missing(ledger: Engine) -> None:
    rows = make_samples(20)
    scorer = make_scorer()
    add_samples(ledger, "d", rows[:12])
    with reading(ledger) as conn:
        dataset = find_dataset(conn, "d").id
    score_dataset(ledger, scorer, dataset)
    first = table(ledger)
    assert len(first) == 12
    add_samples(ledger, "d", rows)
    done: list[str] = []
    score_dataset(ledger, scorer, dataset, lambda batch: done.extend(r.sample.id for r in batch))
    assert sorted(done) == sorted(s.id for s in rows[12:])
    assert set(first) <= set(table(ledger))
    assert len(table(ledger)) == 20


def test_a_new_scorer_adds_scores_and_leaves_the_old_ones(ledger: Engine) -> None:
    add_samples(ledger, "d", make_samples(6))
    with reading(ledger) as conn:
        dataset = find_dataset(conn, "d").id
    old = score_dataset(ledger, make_scorer(), dataset)
    before = table(ledger)
    new = score_dataset(ledger, make_scorer("dot"), dataset)
    assert new != old
    assert set(before) <= set(table(ledger))
    assert len(table(ledger)) == 12


def test_what_cannot_be_scored_is_quarantined_once_with_its_reason(ledger: Engine) -> None:
    hopeless = Sample.from_messages([{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}])
    add_samples(ledger, "d", [*make_samples(3), hopeless])
    scorer = make_scorer()
    template = "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
    scorer.loaded.tokenizer.chat_template = template + str(scorer.loaded.tokenizer.chat_template)
    with reading(ledger) as conn:
        dataset = find_dataset(conn, "d").id
    scorer_id = score_dataset(ledger, scorer, dataset)
    score_dataset(ledger, scorer, dataset)
    with reading(ledger) as conn:
        found = counts(conn, dataset, scorer_id)
        held = conn.execute(sa.select(quarantine.c.reason, quarantine.c.attempts)).all()
    assert (found.scored, found.quarantined, found.unscored) == (3, 1, 0)
    assert [(attempts, "no tools here" in reason) for reason, attempts in held] == [(1, True)]


KILLED = """
import sys, time
from curation.ledger.engine import connect, reading
from curation.ledger.samples import find_dataset
from curation.reconcile.score import score_dataset
from tests.reconcile.test_score import make_scorer

engine = connect(sys.argv[1])
with reading(engine) as conn:
    dataset = find_dataset(conn, "d").id
batches = 0

def slowly(batch):
    global batches
    batches += 1
    print(batches, flush=True)
    time.sleep(0.6 if batches < 3 else 600)  # results are committed about once a second; the kill comes at the third

score_dataset(engine, make_scorer(budget=100), dataset, slowly)
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_from_the_last_batch(ledger: Engine, ledger_url: str) -> None:
    add_samples(ledger, "d", make_samples(60))
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, ledger_url], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "3":
            os.kill(process.pid, signal.SIGKILL)
            break
    assert process.wait() == -signal.SIGKILL
    kept = table(ledger)
    assert 0 < len(kept) < 60
    engine = connect(ledger_url)
    with reading(engine) as conn:
        dataset = find_dataset(conn, "d").id
    score_dataset(engine, make_scorer(budget=100), dataset)
    done = table(engine)
    engine.dispose()
    assert len(done) == 60
    assert set(kept) <= set(done)
    undisturbed = dict(_fresh(60))
    assert {row[1]: row[2] for row in done} == pytest.approx(undisturbed, rel=1e-4, abs=1e-4)


def _fresh(n: int) -> list[tuple[int, float]]:
    """(sample number, risk) of a run that nobody disturbed; ids follow the order of ingest from 1."""
    found = {r.sample.id: r.score.risk for r in make_scorer(budget=100).score(make_samples(n)) if r.score}
    return [(i, found[s.id]) for i, s in enumerate(make_samples(n), start=1)]
