"""The Python API: a ranked table from a file or from messages, riskiest first."""

from __future__ import annotations

from pathlib import Path

import pytest

import curation
from curation.samples.sample import Sample
from tests.cli.conftest import alpaca, write_rows
from tests.reconcile.test_score import make_scorer


def test_rank_gives_a_table_riskiest_first_with_percentiles_and_copies(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.jsonl", [*alpaca(10), *alpaca(1)])
    table = curation.rank(file, make_scorer())
    assert len(table) == 10
    assert table.risk.is_monotonic_decreasing
    assert table.percentile.iloc[0] == 100
    assert table.percentile.iloc[-1] == 0
    assert table.tier.iloc[0] == "critical"
    assert table.set_index("prompt").copies["Say 0"] == 2
    assert (table.risk == table.danger - table.safety).all()


def test_rank_takes_messages_and_puts_failures_first_with_their_reason() -> None:
    scorer = make_scorer()
    scorer.loaded.tokenizer.chat_template = (
        "{% if messages[0].role == 'tool' %}{{ raise_exception('no tools here') }}{% endif %}"
        + str(scorer.loaded.tokenizer.chat_template)
    )
    good = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
    bad = Sample.from_messages([{"role": "tool", "content": "x"}, {"role": "assistant", "content": "y"}])
    table = curation.rank([good, bad], scorer)
    assert "no tools here" in table.failure.iloc[0]
    assert table.id.iloc[0] == bad.id
    assert table.risk.notna().tolist() == [False, True]


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="nothing"):
        _ = curation.nothing  # type: ignore[attr-defined]
