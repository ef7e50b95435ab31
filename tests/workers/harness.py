"""A fleet of real processes to disturb, and the invariants that must hold afterwards whatever was done to it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import sqlalchemy as sa
from sqlalchemy import Engine

from curation.ledger import add_samples, counts, find_dataset, page, reading, register_scorer
from curation.ledger import backlog as ranges
from curation.ledger.fleet import backlogs
from curation.ledger.tables import backlog, quarantine, samples, scores
from curation.samples.sample import Sample
from tests.ledger.builders import sample
from tests.workers import stub

ROOT = Path(__file__).parents[2]
LEASE_SECONDS = 2
PATIENCE = 300
"""Seconds until a test gives up: far more than anything takes, on a busy machine too."""


@dataclass
class Node:
    """A worker or scheduler with its processes."""

    process: subprocess.Popen[str]
    log: Path

    def child(self) -> psutil.Process | None:
        """The process that scores, once there is one."""
        with suppress(psutil.NoSuchProcess):  # it may end while it is looked at
            for found in psutil.Process(self.process.pid).children():
                if "spawn_main" in " ".join(found.cmdline()):
                    return found
        return None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, as an operator or orchestrator sends it; returns the exit code."""
        self.process.terminate()
        return self.process.wait(PATIENCE)


@dataclass
class Fleet:
    """The history of what was accepted, and the processes that should have scored it."""

    engine: Engine
    url: str
    broker: str
    folder: Path
    nodes: list[Node] = field(default_factory=list)
    accepted: dict[str, Sample] = field(default_factory=dict)
    dataset: str = "d"
    lease_seconds: float = LEASE_SECONDS

    def ingest(self, texts: Iterable[str]) -> None:
        new = [sample(text, len(self.accepted) + i) for i, text in enumerate(texts, start=1)]
        add_samples(self.engine, self.dataset, new)
        self.accepted |= {s.id: s for s in new}

    def serve(self, batch: int = 8, seconds: float = 0.02, name: str = "a") -> int:
        """Put a stub scorer into service that takes so long for a batch."""
        card = {"stub": {"batch": batch, "seconds": seconds}, "model": {"name": name}}
        scorer_id = register_scorer(self.engine, name.encode().hex().rjust(64, "0"), card)
        ranges.put_in_service(self.engine, scorer_id)
        return scorer_id

    def start(self, kind: str = "worker", skew: float | None = None) -> Node:
        log = self.folder / f"{kind}-{len(self.nodes)}.log"
        command = [sys.executable, "-m", "tests.workers.fleet", kind]
        process = subprocess.Popen(
            command if skew is None else [*command, str(skew)],
            cwd=ROOT,
            env=self.environment(),
            stdout=log.open("w"),
            stderr=subprocess.STDOUT,
            text=True,
        )
        node = Node(process, log)
        self.nodes.append(node)
        return node

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CURATION_DATABASE_URL": self.url,
            "CURATION_BROKER_URL": self.broker,
            "CURATION_HOME": str(self.folder),
            "CURATION_LEASE_SECONDS": str(self.lease_seconds),
        }

    def workers(self, n: int) -> list[Node]:
        """So many workers, all of them with a process that scores."""
        started = [self.start() for _ in range(n)]
        for node in started:
            self.wait(lambda node=node: node.child() is not None, "a worker's process")
        return started

    def wait(self, reached: Callable[[], object], what: str, patience: float = PATIENCE) -> None:
        deadline = time.monotonic() + patience
        while not reached():
            assert time.monotonic() < deadline, f"never reached: {what}\n{self.logs()}"
            time.sleep(0.05)

    def wait_until_scored(
        self, scorer_id: int, at_least: int | None = None, patience: float = PATIENCE
    ) -> None:
        """Until so many samples, or all that were accepted, have a score or a place in quarantine."""
        wanted = len(self.accepted) if at_least is None else at_least
        self.wait(lambda: self.settled(scorer_id) >= wanted, f"{wanted} samples settled", patience)

    def settled(self, scorer_id: int) -> int:
        with reading(self.engine) as conn:
            found = counts(conn, find_dataset(conn, self.dataset).id, scorer_id)
        return found.scored + found.quarantined

    def retire(self, scorer_id: int) -> None:
        ranges.take_from_service(self.engine, scorer_id)

    def reasons(self) -> list[str]:
        """Why samples are in quarantine, without the line numbers of code."""
        with reading(self.engine) as conn:
            found = conn.execute(sa.select(quarantine.c.reason)).scalars()
            return sorted(re.sub(r":\d+$", "", reason) for reason in found)

    def lease_pids(self) -> list[int]:
        with reading(self.engine) as conn:
            held = sa.select(backlog.c.pid).where(backlog.c.token.is_not(None)).distinct()
            return list(conn.execute(held).scalars())

    def logs(self) -> str:
        return "\n".join(f"--- {node.log.name}\n{node.log.read_text()[-3000:]}" for node in self.nodes)

    def close(self) -> None:
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.send_signal(signal.SIGCONT)
                node.kill()

    def check(self, scorer_id: int, hopeless: Iterable[str] = ()) -> None:
        """The invariants, by SQL against the history. `hopeless`: texts that may only end in quarantine."""
        ids = {s.id for s in self.accepted.values() if any(text in s.answer for text in hopeless)}
        with reading(self.engine) as conn:
            dataset_id = find_dataset(conn, self.dataset).id
            of_sample = samples.c.id == scores.c.sample_id, scores.c.scorer_id == scorer_id
            scored = conn.execute(sa.select(samples.c.content_hash, scores.c.risk).where(*of_sample)).all()
            of_held = samples.c.id == quarantine.c.sample_id, quarantine.c.scorer_id == scorer_id
            held = conn.execute(
                sa.select(samples.c.content_hash, quarantine.c.attempts).where(*of_held)
            ).all()
            total = counts(conn, dataset_id, scorer_id)
            left = [b for b in backlogs(conn) if b.scorer_id == scorer_id]
            first = page(conn, dataset_id, scorer_id, limit=max(1, len(held))).items
        # every accepted sample is scored or held, none both, none twice; only those that cannot be scored are held
        assert sorted(row.content_hash for row in scored) == sorted(set(self.accepted) - ids), self.logs()
        assert {row.content_hash for row in held} == ids, self.logs()
        # the scores are those of an undisturbed run
        assert {row.content_hash: row.risk for row in scored} == {
            h: stub.risk(h) for h in set(self.accepted) - ids
        }
        # attempts are bounded, and what is held is at the top of the queue
        assert all(row.attempts == 1 for row in held)
        assert {item.content_hash for item in first if item.state == "quarantined"} == ids
        # counts are what they count, and nothing is left to do
        assert (total.samples, total.scored, total.quarantined) == (
            len(self.accepted),
            len(scored),
            len(held),
        )
        assert [(b.unscored, b.quarantined) for b in left if b.dataset_id == dataset_id] == [(0, len(held))]
