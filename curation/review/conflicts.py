"""Samples on which reviewers disagree, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection

from curation.ledger.decision_log import contested
from curation.ledger.decisions import Decision, decisions_on
from curation.review.fold import disagree, last_words

_BLOCK = 200


@dataclass(frozen=True, slots=True)
class Conflict:
    """A sample and the words that stand, of which some approve and some reject, in order of time."""

    pk: int
    content_hash: str
    words: tuple[Decision, ...]


class Conflicts(NamedTuple):
    """`next_pk`: ask for those after it; None: these were the last."""

    items: tuple[Conflict, ...]
    next_pk: int | None


def conflicts(conn: Connection, dataset_id: int, limit: int = 50, after_pk: int = 0) -> Conflicts:
    """The next `limit` samples after one, in order of ingest, on which the last words of reviewers differ."""
    found: list[Conflict] = []
    while pks := contested(conn, dataset_id, after_pk, _BLOCK):
        decided = decisions_on(conn, dataset_id, pks)
        for pk in pks:
            words = last_words(decided.get(pk, ()))
            if disagree(words):
                found.append(Conflict(pk, words[0].content_hash, tuple(words)))
                if len(found) > limit:
                    return Conflicts(tuple(found[:limit]), found[limit - 1].pk)
        after_pk = pks[-1]
    return Conflicts(tuple(found), None)
