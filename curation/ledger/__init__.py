"""The ledger: what there is to train on, what scorers said of it, and in which order to review it.

Open it with `open_ledger`. Functions that only read take a connection (`with reading(engine) as conn`), those
that write take the engine and commit before they return.
"""

from curation.ledger.engine import connect, open_ledger, reading, writing
from curation.ledger.migrate import revision, upgrade
from curation.ledger.overview import Counts, ScoreColumns, counts, ranked_samples, repeats, score_columns
from curation.ledger.queue import Page, QueueItem, page, score_of
from curation.ledger.samples import (
    Added,
    Dataset,
    Occurrence,
    StoredSample,
    add_samples,
    find_dataset,
    find_sample,
    list_datasets,
    list_occurrences,
)
from curation.ledger.scores import (
    Scorer,
    ScoreRow,
    find_scorer,
    register_scorer,
)

__all__ = [
    "Added",
    "Counts",
    "Dataset",
    "Occurrence",
    "Page",
    "QueueItem",
    "ScoreColumns",
    "ScoreRow",
    "Scorer",
    "StoredSample",
    "add_samples",
    "connect",
    "counts",
    "find_dataset",
    "find_sample",
    "find_scorer",
    "list_datasets",
    "list_occurrences",
    "open_ledger",
    "page",
    "ranked_samples",
    "reading",
    "register_scorer",
    "repeats",
    "revision",
    "score_columns",
    "score_of",
    "upgrade",
    "writing",
]
