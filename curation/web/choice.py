"""Which dataset and which scorer a page is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query
from sqlalchemy import Connection

from curation.ledger.samples import Dataset, find_dataset, list_datasets
from curation.ledger.scores import newest_scorer

DatasetName = Annotated[str | None, Query(max_length=1000)]
ScorerPrefix = Annotated[str, Query(max_length=64)]


@dataclass(frozen=True, slots=True)
class Choice:
    """A dataset of those there are. Before anything is scored the scorer has the number 0, which none has."""

    known: Sequence[Dataset]
    dataset: Dataset
    scorer_id: int
    fingerprint: str | None


def choose(conn: Connection, name: str | None, scorer: str | None = None) -> Choice | None:
    """What is named, or the first dataset and the newest scorer; None in an empty ledger.

    Raises LedgerError if what is named is not there.
    """
    known = list_datasets(conn)
    if not known and name is None:
        return None
    dataset = find_dataset(conn, name) if name is not None else known[0]
    return Choice(known, dataset, *newest_scorer(conn, scorer))
