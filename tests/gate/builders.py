"""Datasets with scores and decisions for the gate to judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from curation.gate.export import Exported, export
from curation.gate.formats import Format
from curation.gate.policy import PolicyFile
from curation.gate.selection import Tally, scorer_of, select
from curation.ledger import Dataset, add_samples, find_dataset, find_sample, page, reading, register_scorer
from curation.ledger.decisions import NewDecision, Verdict, record_decisions
from curation.samples.sample import Sample
from tests.ledger.builders import quarantine_sample, sample, score_row, write_scores

SCORER = "abcdef".ljust(64, "0")
OTHER = "123456".ljust(64, "0")
NOON = datetime(2026, 3, 14, 12, tzinfo=UTC)


@dataclass
class House:
    """A ledger with one dataset, told about in terms of texts."""

    engine: Engine
    name: str = "d"

    @property
    def dataset(self) -> Dataset:
        with reading(self.engine) as conn:
            return find_dataset(conn, self.name)

    def ingest(self, *samples: Sample) -> None:
        add_samples(self.engine, self.name, samples)

    def write(self, lines: Mapping[int, str], file: str = "train.jsonl") -> None:
        """Let lines hold these texts."""
        self.ingest(*(sample(text, line, file, n=line) for line, text in lines.items()))

    def score(self, risks: Mapping[str, float], scorer: str = SCORER) -> None:
        scorer_id = register_scorer(self.engine, scorer, {"model": "tiny"})
        dataset_id = self.dataset.id
        rows = [score_row(self.pk(text), dataset_id, risk) for text, risk in risks.items()]
        write_scores(self.engine, scorer_id, rows)

    def approve_all(self) -> None:
        """Score and approve whatever is there, the first sample highest."""
        scorer_id = register_scorer(self.engine, SCORER, {"model": "tiny"})
        dataset_id = self.dataset.id
        with reading(self.engine) as conn:
            items = page(conn, dataset_id, scorer_id, 1000).items
        write_scores(self.engine, scorer_id, [score_row(i.pk, dataset_id, -float(i.pk)) for i in items])
        made = [NewDecision(i.content_hash, "approve", "ada", "test", decided_at=NOON) for i in items]
        record_decisions(self.engine, dataset_id, made)

    def quarantine(self, text: str) -> None:
        scorer_id = register_scorer(self.engine, SCORER, {"model": "tiny"})
        quarantine_sample(self.engine, scorer_id, self.pk(text), "too long")

    def pk(self, text: str) -> int:
        with reading(self.engine) as conn:
            return find_sample(conn, sample(text).id, self.name).pk

    def decide(self, verdict: Verdict, *texts: str, by: str = "ada", minute: int = 0) -> None:
        when = NOON + timedelta(minutes=minute)
        made = [NewDecision(sample(t).id, verdict, by, "test", decided_at=when) for t in texts]
        record_decisions(self.engine, self.dataset.id, made)

    def look(self, policy: PolicyFile | None = None) -> tuple[list[tuple[int, str]], dict[str, int]]:
        """(line, because) of all that may leave, and what is held."""
        chosen = (policy or policy_of()).for_dataset(self.name)
        tally = Tally()
        with reading(self.engine) as conn:
            found = select(conn, self.dataset, scorer_of(conn, chosen), chosen, tally)
            out = [(let.line.line, str(let.judgement.because)) for let in found]
        return out, {str(reason): n for reason, n in tally.held_in_order().items()}

    def export(
        self, target: Path, form: Format = "jsonl", policy: PolicyFile | None = None, **more: Any
    ) -> Exported:
        return export(self.engine, self.dataset, policy or policy_of(), form, target, "tester", **more)


def policy_of(**changes: Any) -> PolicyFile:
    return PolicyFile.model_validate({"scorer": SCORER[:12]} | changes)


def reviewed(engine: Engine, n: int = 4) -> House:
    """`n` lines with falling risk: t0 is the riskiest. All are scored and approved."""
    house = House(engine)
    texts = [f"t{i}" for i in range(n)]
    house.write(dict(enumerate(texts, start=1)))
    house.score({text: float(n - i) for i, text in enumerate(texts)})
    house.decide("approve", *texts)
    return house
