"""Conflicts are what stands in dispute now, each once, however the pages fall."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from curation.ledger import reading
from curation.review import conflicts as module
from curation.review.conflicts import conflicts
from tests.gate.builders import House


@pytest.mark.parametrize("block", [1, 2, 100])
def test_only_last_words_count_and_pages_miss_nothing(
    ledger: Engine, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    house = House(ledger)
    texts = [f"t{i}" for i in range(7)]
    house.write(dict(enumerate(texts, start=1)))
    house.decide("approve", *texts, by="ada")
    house.decide("reject", *texts[1:], by="bob", minute=1)
    house.decide("approve", "t2", by="bob", minute=2)
    house.decide("withdraw", "t4", by="ada", minute=2)
    seen: list[int] = []
    after: int | None = 0
    while after is not None:
        with reading(ledger) as conn:
            page = conflicts(conn, house.dataset.id, 2, after)
        seen += [one.pk for one in page.items]
        assert all(
            {w.reviewer: w.verdict for w in one.words} == {"ada": "approve", "bob": "reject"}
            for one in page.items
        )
        after = page.next_pk
    assert seen == [house.pk(text) for text in ("t1", "t3", "t5", "t6")]
