"""Intervals of a dataset: those that separate scorers would give, kept whole, and goes on from any point of a kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import Engine

from curation.errors import InputError
from curation.ledger.engine import connect, reading
from curation.ledger.intervals import firmness, intervals_of
from curation.ledger.overview import ranked_ids, score_columns
from curation.ledger.samples import add_samples, find_dataset
from curation.ledger.tables import intervals, scores
from curation.reconcile.score import score_dataset
from curation.reconcile.stability import Notes, measure_stability, to_see
from curation.sqsd.adapters import Adapter
from curation.sqsd.models import LoadedModel
from curation.sqsd.score import Scored
from curation.sqsd.scorer import Scorer
from curation.stability import assess
from curation.triage import TierPolicy
from tests.ledger.builders import scored_dataset
from tests.reconcile.test_score import make_samples
from tests.sqsd.tiny import random_adapter, tiny_model, tiny_tokenizer

POLICY = TierPolicy(critical=90, high=60, medium=30)
DRAWS = {"danger": (11, 12, 13), "safety": (21, 22)}


def make_scorer(danger: int = 1, safety: int = 2, *, draws: bool = False, budget: int = 300) -> Scorer:
    """With states that do not follow the directions, as in a draw."""
    model = tiny_model("llama")
    loaded = LoadedModel(model, tiny_tokenizer(), "tiny", "0")
    d, s, at_danger, at_safety = (random_adapter(model, 2, seed=seed) for seed in (danger, safety, 3, 2))
    drawn: dict[str, list[Adapter]] = {
        term: [random_adapter(model, 2, seed=seed) for seed in seeds] for term, seeds in DRAWS.items()
    }
    return Scorer(loaded, d, s, at_danger, at_safety, draws=drawn if draws else None, token_budget=budget)


def scored(engine: Engine, n: int) -> tuple[int, int]:
    """(dataset, scorer) of n samples, all scored."""
    add_samples(engine, "d", make_samples(n))
    with reading(engine) as conn:
        dataset = find_dataset(conn, "d").id
    return dataset, score_dataset(engine, make_scorer(), dataset)


def table(engine: Engine) -> list[tuple[object, ...]]:
    with reading(engine) as conn:
        return sorted(tuple(row) for row in conn.execute(sa.select(intervals)))


def test_intervals_are_those_of_scoring_with_every_pair_of_draws_on_its_own(
    ledger: Engine, tmp_path: Path
) -> None:
    dataset, scorer_id = scored(ledger, 24)
    found = measure_stability(ledger, make_scorer(draws=True), scorer_id, dataset, tmp_path, POLICY)
    with reading(ledger) as conn:
        columns, ids = score_columns(conn, dataset, scorer_id), list(ranked_ids(conn, dataset, scorer_id))
        kept = intervals_of(conn, dataset, scorer_id, columns.pk.tolist())
    alone: dict[str, list[list[float]]] = {"danger": [], "safety": []}
    for term, seeds in DRAWS.items():
        for seed in seeds:
            other = make_scorer(danger=seed) if term == "danger" else make_scorer(safety=seed)
            results = {r.sample.id: r.score for r in other.score(make_samples(24))}
            alone[term].append([getattr(results[id_], term) for id_ in ids])
    wanted = assess(columns.risk, np.array(alone["danger"]).T, np.array(alone["safety"]).T, POLICY)
    assert found.pairs == wanted.pairs == 6
    assert [kept[pk].risk_low for pk in columns.pk] == pytest.approx(wanted.low.tolist())
    assert [kept[pk].risk_high for pk in columns.pk] == pytest.approx(wanted.high.tolist())
    assert {one.draws for one in kept.values()} == {6}
    assert found.tiers == wanted.tiers
    assert all(0 <= one.percentile_low <= one.percentile_high <= 100 for one in kept.values())


def test_once_more_scores_nothing_and_changes_nothing(ledger: Engine, tmp_path: Path) -> None:
    dataset, scorer_id = scored(ledger, 9)
    scorer, seen = make_scorer(draws=True), list[Scored]()
    assert to_see(ledger, scorer, scorer_id, dataset, tmp_path) == 9
    measure_stability(ledger, scorer, scorer_id, dataset, tmp_path, POLICY, seen.extend)
    first = table(ledger)
    assert (len(seen), len(first)) == (9, 9)
    assert to_see(ledger, scorer, scorer_id, dataset, tmp_path) == 0
    measure_stability(ledger, scorer, scorer_id, dataset, tmp_path, POLICY, seen.extend)
    assert len(seen) == 9
    assert table(ledger) == first


def test_samples_that_arrive_later_are_added_and_all_are_ranked_anew(ledger: Engine, tmp_path: Path) -> None:
    dataset, scorer_id = scored(ledger, 6)
    measure_stability(ledger, make_scorer(draws=True), scorer_id, dataset, tmp_path, POLICY)
    add_samples(ledger, "d", make_samples(15))
    score_dataset(ledger, make_scorer(), dataset)
    seen = list[Scored]()
    scorer = make_scorer(draws=True)
    measure_stability(ledger, scorer, scorer_id, dataset, tmp_path, POLICY, seen.extend)
    assert len(seen) == 9
    assert len(table(ledger)) == 15


def test_a_scorer_without_draws_and_a_dataset_without_scores_are_told_apart(
    sqlite: Engine, tmp_path: Path
) -> None:
    dataset, scorer_id = scored(sqlite, 3)
    with pytest.raises(InputError, match="have no draws"):
        measure_stability(sqlite, make_scorer(), scorer_id, dataset, tmp_path, POLICY)
    with pytest.raises(InputError, match="no sample of the dataset"):
        measure_stability(sqlite, make_scorer(draws=True), scorer_id + 1, dataset, tmp_path, POLICY)


def test_other_draws_have_notes_of_their_own(tmp_path: Path) -> None:
    some, fewer = make_scorer(draws=True), make_scorer(draws=True)
    fewer.terms["danger"] = fewer.terms["danger"].__class__(
        some.terms["danger"].direction, some.terms["danger"].state, some.terms["danger"].draws[:2]
    )
    assert Notes.of(some, tmp_path).file != Notes.of(fewer, tmp_path).file
    assert Notes.of(some, tmp_path).file == Notes.of(make_scorer(draws=True), tmp_path).file


def test_how_firm_tiers_are_is_counted_by_the_low_ends_of_intervals(ledger: Engine) -> None:
    from curation.ledger.intervals import keep_intervals

    dataset, scorer_id, pks = scored_dataset(ledger, [float(i) for i in range(11)])
    with reading(ledger) as conn:
        assert firmness(conn, dataset, scorer_id, POLICY) == []
    # critical: 9 and 10; high: 6, 7, 8
    rows = [(pks[10], 9.0, 10.0), (pks[9], 8.0, 10.0), (pks[8], 7.0, 9.0), (pks[7], 5.0, 8.0)]
    keep_intervals(ledger, scorer_id, rows, 12)
    with reading(ledger) as conn:
        found = firmness(conn, dataset, scorer_id, POLICY)
        band = intervals_of(conn, dataset, scorer_id, [pks[7], pks[0]])
    assert [(f.tier, f.samples, f.firm) for f in found] == [
        ("critical", 2, 1),
        ("high", 2, 1),
        ("medium", 0, 0),
    ]
    assert band == {pks[7]: (5.0, 8.0, 50.0, 80.0, 12)}
    keep_intervals(ledger, scorer_id, [(pks[7], 6.0, 8.0)], 16)
    with reading(ledger) as conn:
        assert intervals_of(conn, dataset, scorer_id, [pks[7]])[pks[7]] == (6.0, 8.0, 60.0, 80.0, 16)
        assert firmness(conn, dataset, scorer_id, POLICY)[1].firm == 2
        assert conn.execute(sa.select(sa.func.count()).select_from(scores)).scalar_one() == 11


KILLED = """
import sys, time
from pathlib import Path
from curation.ledger.engine import connect, reading
from curation.ledger.samples import find_dataset
from curation.reconcile.stability import measure_stability
from tests.reconcile.test_stability import POLICY, make_scorer

engine = connect(sys.argv[1])
with reading(engine) as conn:
    dataset = find_dataset(conn, "d").id
scorer = make_scorer(draws=True, budget=100)

batches = 0

def slowly(batch):
    global batches
    batches += 1
    print(len(batch), flush=True)
    if batches == 3:
        time.sleep(600)  # the kill comes before

measure_stability(engine, scorer, int(sys.argv[3]), dataset, Path(sys.argv[2]), POLICY, slowly)
"""


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_from_the_last_batch(
    ledger: Engine, ledger_url: str, tmp_path: Path
) -> None:
    dataset, scorer_id = scored(ledger, 40)
    whole = measure_stability(ledger, make_scorer(draws=True), scorer_id, dataset, tmp_path / "whole", POLICY)
    wanted = table(ledger)
    with ledger.begin() as conn:
        conn.execute(intervals.delete())
    home = tmp_path / "killed"
    args = [sys.executable, "-c", KILLED, ledger_url, str(home), str(scorer_id)]
    process = subprocess.Popen(args, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(3):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert table(ledger) == []
    scorer, seen = make_scorer(draws=True), list[Scored]()
    file = Notes.of(scorer, home).file
    kept = len(file.read_bytes().splitlines())
    with file.open("ab") as notes:
        notes.write(b'{"id": "half a li')  # what a kill in the middle of a write leaves
    again = connect(ledger_url)
    found = measure_stability(again, scorer, scorer_id, dataset, home, POLICY, seen.extend)
    again.dispose()
    assert 0 < kept < 40
    assert len(seen) == 40 - kept
    assert found.pairs == whole.pairs
    rows = table(ledger)
    assert [row[:2] for row in rows] == [row[:2] for row in wanted]
    assert [row[2] for row in rows] == pytest.approx([row[2] for row in wanted], abs=1e-3)
