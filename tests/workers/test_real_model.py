"""The whole way with the real model: put in service by its command, scored by a worker, shown by `status`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from curation.ledger import add_samples, find_dataset, page, reading
from curation.ledger.scores import find_scorer
from curation.samples import Sample
from curation.sqsd.load import load_scorer
from tests.workers.harness import Fleet, Node

PROGRAM = str(Path(sys.executable).with_name("curation"))
ANSWERS = ("Yes.", "Sure! Here is how: first open the box.", "I am sorry, but I cannot help with that.")


def curation(fleet: Fleet, *args: str) -> Any:
    """Run a command of the program and return the JSON that it prints."""
    done = subprocess.run(
        [PROGRAM, *args, "--json"],
        env=fleet.environment(),
        cwd=fleet.folder,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.timeout(900)
def test_a_worker_gives_the_real_models_scores(postgres_fleet: Fleet) -> None:
    fleet = postgres_fleet
    rows = [
        Sample.from_messages(
            [{"role": "user", "content": "Please?"}, {"role": "assistant", "content": answer}]
        )
        for answer in ANSWERS
    ]
    add_samples(fleet.engine, "d", rows)
    served = curation(fleet, "scorers", "serve")
    assert curation(fleet, "status")["backlogs"][0]["unscored"] == 3
    log = fleet.folder / "worker.log"
    command = [PROGRAM, "worker", "--threads", "1"]
    process = subprocess.Popen(
        command,
        env=fleet.environment(),
        cwd=fleet.folder,
        stdout=log.open("w"),
        stderr=subprocess.STDOUT,
        text=True,
    )
    fleet.nodes.append(Node(process, log))
    fleet.wait(lambda: fleet.settled(served["id"]) == 3, "three scores", patience=600)
    told = curation(fleet, "status")
    assert [w["trouble"] for w in told["workers"]] == [None]
    assert told["workers"][0]["fingerprint"] == served["scorer"]
    assert told["workers"][0]["alive"]
    assert told["workers"][0]["device"]

    with reading(fleet.engine) as conn:
        stored = find_scorer(conn, served["scorer"])
        items = page(conn, find_dataset(conn, "d").id, stored.id).items
    expected = {r.sample.id: r.score.risk for r in load_scorer().score(rows) if r.score}
    assert {i.content_hash: i.risk for i in items} == pytest.approx(expected, rel=1e-3, abs=1e-3)
