"""Real processes: ingesting the same at once, and killed in the middle."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy import Engine

from curation.ledger import add_samples, connect, counts, find_dataset, open_ledger, reading, upgrade
from curation.ledger.migrate import UPGRADE_LOCK, alembic_config, head
from tests.ledger.builders import contents, new_scorer
from tests.ledger.ingest import stream

ROOT = Path(__file__).parents[2]
N = 600


def ingest(url: str, chunk: int, order: str = "forwards", die_at: int = 0) -> subprocess.Popen[str]:
    arguments = [url, str(N), str(chunk), order, str(die_at)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.ledger.ingest", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n", process.communicate()
    return process


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    engine = open_ledger(home=tmp_path_factory.mktemp("undisturbed"))
    add_samples(engine, "d", stream(N))
    return engine


def assert_complete(engine: Engine, undisturbed: Engine) -> None:
    assert contents(engine) == contents(undisturbed)
    totals = []
    for each in (engine, undisturbed):
        scorer_id = new_scorer(each)
        with reading(each) as conn:
            totals.append(counts(conn, find_dataset(conn, "d").id, scorer_id))
    assert totals[0] == totals[1]
    assert totals[0].rows == N > totals[0].samples


def test_two_processes_ingest_the_same_at_once(ledger_url: str, undisturbed: Engine) -> None:
    upgrade(connect(ledger_url))
    # Both are ready before either may begin, so that they do run at the same time.
    processes = [ingest(ledger_url, 7), ingest(ledger_url, 10, "backwards")]
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    ends = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], ends
    engine = open_ledger(ledger_url)
    assert_complete(engine, undisturbed)
    engine.dispose()


def test_processes_that_create_the_same_ledger_at_once_do_not_collide(ledger_url: str) -> None:
    made = "open_ledger(url)" if ledger_url.startswith("sqlite") else "connect(url); upgrade(engine)"
    program = f"from curation.ledger import *; url = {ledger_url!r}; engine = {made}; print(revision(engine))"
    started = [
        subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert [process.communicate()[0].strip() for process in started] == [head()] * 3


@pytest.mark.slow
def test_an_upgrade_waits_for_one_that_is_under_way(postgres_url: str) -> None:
    engine = connect(postgres_url)
    program = f"from curation.ledger import *; upgrade(connect({postgres_url!r}))"
    with engine.begin() as conn:
        conn.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))
        command.upgrade(alembic_config(conn), "head")
        process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        waiting = sa.text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
        while process.poll() is None:
            with engine.connect() as other:
                if other.execute(waiting).scalar_one():
                    break
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    engine.dispose()


@pytest.mark.parametrize("die_at", [2, 6, 15, 31, 72, 143, 309])
def test_an_ingest_that_is_killed_completes_when_run_again(
    ledger_url: str, undisturbed: Engine, die_at: int
) -> None:
    upgrade(connect(ledger_url))
    process = ingest(ledger_url, 7, die_at=die_at)
    process.communicate("go\n")
    assert process.returncode == -signal.SIGKILL
    engine = open_ledger(ledger_url)
    kept = len(contents(engine)["lines"])
    assert kept < N
    assert kept % 7 == 0  # whole chunks
    add_samples(engine, "d", stream(N))
    assert_complete(engine, undisturbed)
    engine.dispose()
