"""What a queue is narrowed to: how samples stand with reviewers, where they are shown, and what they say.

None of this has an index in the order of the queue. So a page looks through so many samples at most, and says where
it stopped: a page costs the same however rare what is looked for, in a dataset of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import orjson
import sqlalchemy as sa

from curation.ledger.decisions import Verdict, last_word_is
from curation.ledger.tables import items, samples
from curation.samples.sample import Sample

Reviewed = Literal["undecided", "decided", "approved", "rejected", "conflict"]
"""`approved`: somebody approves it and nobody rejects it; `rejected`: somebody does; `conflict`: both."""

REVIEWED: tuple[Reviewed, ...] = get_args(Reviewed)

WINDOW = 200_000
"""Samples that one page looks through at most."""

TEXT_WINDOW = 20_000
"""The same when their texts are read."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Conditions that samples of a queue must all meet; None: any will do. `text` is looked for in all turns, in the
    order of its letters, whatever their case."""

    reviewed: Reviewed | None = None
    target_id: int | None = None
    text: str | None = None

    @property
    def window(self) -> int:
        return TEXT_WINDOW if self.text else WINDOW

    def where(self, dataset_id: int, sample_pk: sa.ColumnElement[int]) -> Sequence[sa.ColumnElement[bool]]:
        """The conditions on samples of a dataset, the one on the text only roughly: `keeps` is exact.

        `sample_pk` is the column that leads the query: what it alone decides is decided before a text is fetched.
        """
        found: list[sa.ColumnElement[bool]] = []
        if self.reviewed:
            found.append(_stands(self.reviewed, sa.literal(dataset_id), sample_pk))
        if self.target_id is not None:
            live = items.c.target_id == self.target_id, items.c.gone_at.is_(None)
            found.append(sa.exists().where(*live, items.c.sample_id == sample_pk))
        if self.text:
            # In ASCII only, the one part of a text whose case SQLite knows: the rest is left to `keeps`.
            for part in "".join(c if c.isascii() else " " for c in self.text).split():
                found.append(samples.c.body.icontains(_as_json(part), autoescape=True))
        return found

    def keeps(self, body: str) -> bool:
        """Whether the text is in a turn of a sample, given as the ledger stores it."""
        if not self.text:
            return True
        wanted = self.text.lower()
        return any(wanted in message.content.lower() for message in Sample.from_json(body).messages)


def _stands(
    reviewed: Reviewed, dataset_id: sa.ColumnElement[int], sample_pk: sa.ColumnElement[int]
) -> sa.ColumnElement[bool]:
    def said(*verdicts: Verdict) -> sa.ColumnElement[bool]:
        return last_word_is(verdicts, dataset_id, sample_pk)

    match reviewed:
        case "undecided":
            return sa.not_(said("approve", "reject"))
        case "decided":
            return said("approve", "reject")
        case "approved":
            return sa.and_(said("approve"), sa.not_(said("reject")))
        case "rejected":
            return said("reject")
        case "conflict":
            return sa.and_(said("approve"), said("reject"))


def _as_json(text: str) -> str:
    """A text as it stands within the JSON of a sample."""
    return orjson.dumps(text).decode()[1:-1]
