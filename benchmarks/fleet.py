"""What queue and ledger cost on top of the scoring itself, and what a second worker brings. Real model.

    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.fleet overhead [--samples 16] [--pairs 5]
    OMP_WAIT_POLICY=PASSIVE python -m benchmarks.fleet workers --broker redis://127.0.0.1:6379/0 [--samples 32]

`overhead` scores the same samples bare (`Scorer.score_batches`) and through the ledger (`score_dataset`: claims,
leases and commits in a SQLite file), in turns, and compares CPU time. `workers` runs whole worker processes on one
ledger, one thread each, first one and then two, and compares the time between the first score and the last.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import sqlalchemy as sa
import torch
from sqlalchemy import Engine

from benchmarks.measure import DEMO, parser, ratios, timed, write
from curation.ledger import add_samples, find_dataset, open_ledger, reading, register_scorer
from curation.ledger.backlog import put_in_service
from curation.ledger.tables import scores
from curation.reconcile.score import score_dataset
from curation.samples import Sample, read_samples
from curation.settings import get_settings
from curation.sqsd.load import load_scorer, origin


def distinct(n: int) -> list[Sample]:
    """The first `n` different demo samples."""
    return list(islice({s.id: s for s in read_samples(DEMO)}.values(), n))


def overhead(given: argparse.Namespace) -> None:
    scorer, rows, device = load_scorer(), distinct(given.samples), torch.device("cpu")
    bare, through = [], []
    for turn in range(given.pairs + 1):
        with tempfile.TemporaryDirectory() as folder:
            engine = open_ledger(home=Path(folder))
            add_samples(engine, "demo", rows)
            with reading(engine) as conn:
                dataset_id = find_dataset(conn, "demo").id
            pair = [
                timed(lambda: list(scorer.score_batches(rows)), device),
                timed(lambda e=engine, d=dataset_id: score_dataset(e, scorer, d), device),
            ]
            engine.dispose()
        if turn:  # the first is for warming up
            bare.append(pair[0])
            through.append(pair[1])
            print(f"bare {pair[0].cpu:6.1f} s   through the ledger {pair[1].cpu:6.1f} s of CPU time")
    found = ratios(through, bare, device)
    print(f"queue + ledger over bare scoring: {found['median']:.3f} (median of {found['pairs']} pairs)")
    obtained = f"{len(rows)} demo samples, {given.pairs} pairs in turns, SQLite, CPU time"
    write(given.out, obtained, {"overhead": found})


def workers(given: argparse.Namespace) -> None:
    settings, rows = get_settings(), distinct(given.samples)
    scorer = load_scorer(settings)
    card = {**scorer.card, "loaded_from": origin(settings)}
    found = {n: _span(given.broker, rows, scorer.fingerprint, card, n) for n in (1, 2)}
    for n, seconds in found.items():
        print(f"{n} worker(s): {len(rows) / seconds:.3f} samples/s")
    print(f"two workers over one: {found[1] / found[2]:.2f}")
    obtained = (
        f"{len(rows)} demo samples, worker processes of one thread, from first to last score, wall clock"
    )
    write(given.out, obtained, {"seconds": found, "two_over_one": round(found[1] / found[2], 3)})


def _span(broker: str, rows: list[Sample], fingerprint: str, card: dict[str, object], n: int) -> float:
    """Seconds from when all workers have their model to the last score."""
    with tempfile.TemporaryDirectory() as folder:
        engine = open_ledger(home=Path(folder))
        environment = {**os.environ, "CURATION_HOME": folder, "CURATION_BROKER_URL": broker}
        environment["CURATION_TOKEN_BUDGET"] = "512"
        scorer_id = register_scorer(engine, fingerprint, card)
        put_in_service(engine, scorer_id)
        warm_up = [
            Sample.from_messages([{"role": "assistant", "content": f"warm {i}"}]) for i in range(8 * n)
        ]
        program = str(Path(sys.executable).with_name("curation"))
        command = [program, "worker", "--threads", "1", "--log-level", "ERROR"]
        started = [subprocess.Popen(command, env=environment) for _ in range(n)]
        try:
            for i, sample in enumerate(
                warm_up
            ):  # one by one, so that every worker gets some and loads its model
                add_samples(engine, "warm", [sample])
                _wait(engine, scorer_id, i + 1)
            start = time.monotonic()
            add_samples(engine, "demo", rows)
            _wait(engine, scorer_id, len(warm_up) + len(rows))
            return time.monotonic() - start
        finally:
            for process in started:
                process.terminate()
            for process in started:
                process.wait(120)
            engine.dispose()


def _wait(engine: Engine, scorer_id: int, n: int) -> None:
    counted = sa.select(sa.func.count()).select_from(scores).where(scores.c.scorer_id == scorer_id)
    while True:
        with reading(engine) as conn:
            if conn.execute(counted).scalar_one() >= n:
                return
        time.sleep(0.1)


def main() -> None:
    options = parser(__doc__)
    options.add_argument("what", choices=("overhead", "workers"))
    options.add_argument("--samples", type=int, default=16)
    options.add_argument("--pairs", type=int, default=5)
    options.add_argument("--broker", default="redis://127.0.0.1:6379/0")
    given = options.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    overhead(given) if given.what == "overhead" else workers(given)


if __name__ == "__main__":
    main()
