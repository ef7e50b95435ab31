"""What the contract's tests need of a platform: to act on it as its annotators do, and to see what it shows them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy import Engine

from curation.ledger.engine import reading, writing
from curation.ledger.samples import add_samples, find_dataset
from curation.ledger.scores import ScoreRow, insert_quarantine, insert_scores, register_scorer
from curation.ledger.tables import samples
from curation.ledger.targets import Target, find_target
from curation.reconcile.push import Pushed
from curation.reconcile.sync import sync_target
from curation.samples.sample import Sample, Source
from curation.settings import Settings

DATASET = "support"


class Rig(Protocol):
    """A platform with two annotators, 0 and 1, and a new empty project for each test."""

    url: str
    settings: Settings

    def connect(self, engine: Engine, url: str | None = None, **options: Any) -> None:
        """Make a project a target of the dataset, under the dataset's name."""
        ...

    def served(self, annotator: int, count: int) -> list[str]:
        """Questions of the next items that an annotator is given, each skipped by being approved."""
        ...

    def listed(self) -> list[str]:
        """Questions of all items in the order of the queue, without taking any from annotators."""
        ...

    def find(self, question: str) -> str:
        """The one item with this question."""
        ...

    def shown(self, remote_id: str) -> dict[str, Any]:
        """What is displayed beside an item: tier, percentile, risk and so on, by the names of `Columns`."""
        ...

    def text(self, remote_id: str) -> list[tuple[str, str]]:
        """Role and content of an item's messages, as an annotator reads them."""
        ...

    def answer(self, remote_id: str, verdict: str, annotator: int = 0, reason: str | None = None) -> str:
        """Have an annotator answer; returns what names the answer."""
        ...

    def change(self, answer: str, verdict: str) -> None: ...

    def delete(self, answer: str) -> None: ...

    def skip(self, remote_id: str, annotator: int = 0) -> None: ...

    def edit(self, remote_id: str, answer: str) -> None:
        """Change the last message of an item's text."""
        ...

    def remove(self, remote_id: str) -> None: ...

    def add(self, samples: Sequence[Sample]) -> list[str]:
        """Items that were not made by us."""
        ...

    def reviewer(self, annotator: int) -> str: ...

    def makes_items(self, method: str, path: str) -> bool:
        """Whether it is by such a request that items are made."""
        ...

    def kill(self) -> None: ...

    def start(self) -> None: ...


@dataclass
class Ledger:
    """A ledger with one dataset whose samples are known by their questions."""

    engine: Engine
    scorer_id: int = 0

    def ingest(self, questions: Sequence[str], answer: str = "answer to") -> None:
        made = [pair(q, f"{answer} {q}", i) for i, q in enumerate(questions, start=self.count() + 1)]
        add_samples(self.engine, DATASET, made)

    def count(self) -> int:
        with reading(self.engine) as conn:
            return conn.execute(sa.select(sa.func.count()).select_from(samples)).scalar_one()

    def score(self, risks: dict[str, float], scorer: str = "a") -> int:
        """Give samples their risks, by question; returns the scorer's number."""
        self.scorer_id = register_scorer(self.engine, scorer.encode().hex().rjust(64, "0"), {"model": {}})
        rows = [
            ScoreRow(self.pk(question), self.dataset_id, risk, risk + 1.0, 1.0, 1.0, 1.0, 9, 4, False)
            for question, risk in risks.items()
        ]
        with writing(self.engine) as conn:
            insert_scores(conn, self.scorer_id, rows)
        return self.scorer_id

    def quarantine(self, question: str) -> None:
        with writing(self.engine) as conn:
            insert_quarantine(conn, self.scorer_id, [(self.pk(question), "cannot be expressed")])

    @property
    def dataset_id(self) -> int:
        with reading(self.engine) as conn:
            return find_dataset(conn, DATASET).id

    def pk(self, question: str) -> int:
        with reading(self.engine) as conn:
            for pk, body in conn.execute(
                sa.select(samples.c.id, samples.c.body).order_by(samples.c.id.desc())
            ):
                if Sample.from_json(body).prompt == question:
                    return pk
        raise KeyError(question)

    def target(self) -> Target:
        with reading(self.engine) as conn:
            return find_target(conn)

    def sync(self, rig: Rig) -> Pushed:
        return sync_target(self.engine, self.target().id, rig.settings, at_once=True)


def pair(question: str, answer: str, line: int) -> Sample:
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return Sample.from_messages(turns, source=Source("train.jsonl", line))
