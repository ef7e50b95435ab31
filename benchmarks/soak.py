"""A soak: 100,000 short samples, four workers, and somebody who keeps killing them.

    python -m benchmarks.soak [--samples 100000] [--workers 4] [--minutes 5] [--out FILE.json]

Starts Postgres and Redis from the wheels that the tests use, ingests, and for the given minutes kills a random
worker process, its parent or the whole content of the broker every second or two. Then it lets the fleet finish and
checks every sample against the history (tests/workers/harness.py). The scorer is the tests' stub: what is tried here
is the machinery, not the model.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from benchmarks.measure import parser, write
from curation.ledger import connect, upgrade
from tests import servers
from tests.workers.harness import Fleet


def disturb(fleet: Fleet, redis: servers.Redis, draw: random.Random, done: Counter[str]) -> None:
    """One random act of violence."""
    node = draw.choice([n for n in fleet.nodes if n.process.poll() is None])
    act = draw.choices(["child", "parent", "broker"], weights=[6, 2, 2])[0]
    if act == "broker":
        redis.client().flushall()
    elif act == "parent":
        node.kill()
        fleet.start()
    elif child := node.child():
        child.kill()
    else:
        return
    done[act] += 1


def soak(fleet: Fleet, redis: servers.Redis, samples: int, workers: int, seconds: float) -> dict[str, object]:
    start = time.monotonic()
    fleet.ingest(f"{i} short" for i in range(samples))
    print(f"ingested {samples:,} in {time.monotonic() - start:.0f} s")
    scorer_id = fleet.serve(batch=16, seconds=0.02)
    fleet.workers(workers)
    draw, done, begun = random.Random(1), Counter[str](), time.monotonic()
    shown = 0.0
    while time.monotonic() - begun < seconds and fleet.settled(scorer_id) < samples:
        time.sleep(draw.uniform(0.5, 2.0))
        disturb(fleet, redis, draw, done)
        if time.monotonic() - shown > 15:
            shown = time.monotonic()
            print(
                f"{shown - begun:5.0f} s: {fleet.settled(scorer_id):,} settled, killed {dict(done)}",
                flush=True,
            )
    at_end = fleet.settled(scorer_id)
    undisturbed = time.monotonic()
    fleet.wait_until_scored(scorer_id, patience=1800)
    fleet.check(scorer_id)  # ends the run here if a sample is missing, scored otherwise, or in quarantine
    return {
        "samples": samples,
        "workers": workers,
        "killed": dict(done),
        "disturbed_seconds": round(undisturbed - begun),
        "settled_while_disturbed": at_end,
        "seconds_to_finish_afterwards": round(time.monotonic() - undisturbed),
    }


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--samples", type=int, default=100_000)
    options.add_argument("--workers", type=int, default=4)
    options.add_argument("--minutes", type=float, default=5.0)
    given = options.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = servers.Redis(folder)
        stack.callback(redis.kill)
        url = stack.enter_context(servers.database(stack.enter_context(servers.postgres())))
        engine = connect(url)
        stack.callback(engine.dispose)
        upgrade(engine)
        fleet = Fleet(engine, url, redis.url, folder)
        stack.callback(fleet.close)
        found = soak(fleet, redis, given.samples, given.workers, 60 * given.minutes)
    print(found)
    write(
        given.out,
        "stub scorer, Postgres and Redis on loopback; every invariant checked by SQL at the end",
        found,
    )


if __name__ == "__main__":
    main()
