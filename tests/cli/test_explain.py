"""Explanations are kept for the pages: of one sample, of many, and of those in a report."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from curation.ledger import find_sample, open_ledger, reading
from curation.ledger.explanations import Reasons, reasons_of
from curation.ledger.scores import find_scorer
from curation.settings import get_settings
from tests.cli.conftest import Run, alpaca, write_rows


def kept(engine: Engine, id_: str) -> Reasons | None:
    with reading(engine) as conn:
        found = reasons_of(conn, find_scorer(conn).id, find_sample(conn, id_).pk)
    return found[0] if found else None


def test_they_are_kept_once_each_riskiest_first(run: Run, tmp_path: Path) -> None:
    run("triage", str(write_rows(tmp_path / "a.jsonl", alpaca(6))), "--heat", "0")
    engine = open_ledger(home=get_settings().home)
    order = run("queue", "--json").json["items"]
    assert [kept(engine, item["id"]) for item in order] == [None] * 6

    run("explain", order[1]["id"][:8])
    assert run("explain", "--top", "3", "--json").json == {"dataset": "a", "explained": 2, "failed": 0}
    assert [kept(engine, item["id"]) is not None for item in order] == [True] * 3 + [False] * 3
    assert run("explain", "--top", "3", "--json").json["explained"] == 0

    run("report", "--heat", "5", "--out", str(tmp_path / "report.html"))
    assert [kept(engine, item["id"]) is not None for item in order] == [True] * 5 + [False]
    for item in order[:5]:
        found = kept(engine, item["id"])
        assert found
        assert sum(found.risks) == pytest.approx(item["risk"], rel=1e-3, abs=1e-4)
        shares = [share.danger - share.safety for share in found.modules.values()]
        assert sum(shares) == pytest.approx(item["risk"], rel=1e-3, abs=1e-4)
        assert len(found.tokens) == len(found.risks)


def test_one_sample_or_many_must_be_named(run: Run) -> None:
    assert run("explain").code == 1
    assert run("explain", "abcdef", "--top", "2").code == 1
