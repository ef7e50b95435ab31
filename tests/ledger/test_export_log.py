"""Exports, their samples and policies, the latest first and a page at a time."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest
from sqlalchemy import Engine

from curation.errors import LedgerError
from curation.ledger import reading, writing
from curation.ledger.export_log import exported_samples, find_export, latest_exports, used_policies
from curation.ledger.exports import NewExport, moment, record_export
from curation.ledger.tables import manifests
from tests.ledger.builders import scored_dataset


def leave(engine: Engine, dataset_id: int, scorer_id: int, pks: Sequence[int], policy: str = "0") -> int:
    with reading(engine) as conn:
        now = moment(conn)
    body = json.dumps({"policy": policy})
    seal = json.dumps({"signed_with": None})
    made = NewExport(
        dataset_id, scorer_id, policy * 64, body, "jsonl", {"lines": 9}, "f" * 64, seal, "me", now, pks
    )
    return record_export(engine, made)


def test_exports_come_latest_first_and_by_filter(ledger: Engine) -> None:
    first, scorer_id, pks = scored_dataset(ledger, [3.0, 2.0])
    second, other, more = scored_dataset(ledger, [1.0])
    a = leave(ledger, first, scorer_id, pks)
    b = leave(ledger, second, other, more, policy="1")
    c = leave(ledger, first, scorer_id, pks, policy="1")
    with reading(ledger) as conn:
        assert [one.id for one in latest_exports(conn)] == [c, b, a]
        assert [one.id for one in latest_exports(conn, limit=2)] == [c, b]
        assert [one.id for one in latest_exports(conn, before=b)] == [a]
        assert [one.id for one in latest_exports(conn, dataset_id=first)] == [c, a]
        assert [one.id for one in latest_exports(conn, policy_sha256="1" * 64)] == [c, b]
        found = find_export(conn, b)
        assert (found.dataset_id, found.counts, found.policy, found.seal) == (
            second,
            {"lines": 9},
            {"policy": "1"},
            {"signed_with": None},
        )
        with pytest.raises(LedgerError, match="no export"):
            find_export(conn, c + 1)


def test_an_export_from_before_manifests_were_kept_has_none(ledger: Engine) -> None:
    dataset_id, scorer_id, pks = scored_dataset(ledger, [3.0])
    number = leave(ledger, dataset_id, scorer_id, pks)
    with writing(ledger) as conn:
        conn.execute(manifests.delete())
    with reading(ledger) as conn:
        assert find_export(conn, number).seal is None


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_samples_of_an_export_come_each_once(ledger: Engine, limit: int) -> None:
    dataset_id, scorer_id, pks = scored_dataset(ledger, [float(-i) for i in range(12)])
    inside = [pks[i] for i in (0, 1, 2, 5, 7, 8, 11)]
    number = leave(ledger, dataset_id, scorer_id, inside)
    leave(ledger, dataset_id, scorer_id, pks)
    seen: list[tuple[int, float | None]] = []
    after = 0
    with reading(ledger) as conn:
        export = find_export(conn, number)
        while page := exported_samples(conn, export, limit, after):
            assert len(page) <= limit
            seen += [(one.pk, one.risk) for one in page]
            after = page[-1].pk
    assert seen == [(pk, float(-pks.index(pk))) for pk in inside]


def test_policies_say_where_and_how_often_they_were_used(ledger: Engine) -> None:
    first, scorer_id, pks = scored_dataset(ledger, [3.0])
    second, other, more = scored_dataset(ledger, [1.0])
    with reading(ledger) as conn:
        assert used_policies(conn) == []
    leave(ledger, first, scorer_id, pks, policy="1")
    leave(ledger, second, other, more, policy="2")
    last = leave(ledger, second, other, more, policy="1")
    with reading(ledger) as conn:
        found = used_policies(conn)
        names = {export.dataset_id: export.dataset for export in latest_exports(conn)}
        newest = find_export(conn, last).snapshot_at
    assert [(one.sha256[0], one.exports) for one in found] == [("1", 2), ("2", 1)]
    assert found[0].last_at == newest
    assert set(found[0].datasets) == {names[first], names[second]}
    assert found[1].datasets == (names[second],)
